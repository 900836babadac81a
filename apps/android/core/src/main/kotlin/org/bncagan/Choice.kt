package org.bncagan

import java.io.File
import java.io.IOException
import org.json.JSONException
import org.json.JSONObject

/** The accelerator that passed its self-test, and what was wrong with those before it. */
class Choice<A>(val accelerator: A, val verdict: Verdict, val demoted: List<String>)

/** The verdicts of earlier launches, in a file of the application's cache. */
class Verdicts(private val file: File) {
    /**
     * The first accelerator that passes; `Failure`, which says what is wrong with each, if none does.
     *
     * A verdict is remembered, and the accelerator is not tested again under the same key. An error is not remembered:
     * it may have been one of the moment.
     *
     * key: what a verdict is valid for: the weights' hash, and the system and the drivers, which draw.
     * test: runs the self-test on an accelerator.
     */
    fun <A> firstPassing(accelerators: List<A>, key: String, test: (A) -> Verdict): Choice<A> {
        val demoted = mutableListOf<String>()
        for (accelerator in accelerators) {
            try {
                val place = "$key $accelerator"
                val verdict = remembered(place) ?: test(accelerator).also { remember(place, it) }
                if (verdict.passed) return Choice(accelerator, verdict, demoted)
                demoted += "$accelerator: ${verdict.failures.firstOrNull() ?: "no picture was tested"}"
            } catch (error: Exception) { // whatever a driver throws
                demoted += "$accelerator: ${error.message}"
            }
        }
        throw Failure(
            "one accelerator should pass the self-test but none does (${demoted.joinToString("; ")}); " +
                "export the model again, and report the device"
        )
    }

    private fun remembered(place: String): Verdict? = known().optJSONObject(place)?.let(::Verdict)

    private fun remember(place: String, verdict: Verdict) {
        val partial = File(file.path + ".partial")
        partial.writeText(known().put(place, verdict.json).toString())
        partial.renameTo(file)
    }

    /** A damaged or missing file is none: the self-test runs again. */
    private fun known(): JSONObject = try {
        JSONObject(file.readText())
    } catch (_: IOException) {
        JSONObject()
    } catch (_: JSONException) {
        JSONObject()
    }
}
