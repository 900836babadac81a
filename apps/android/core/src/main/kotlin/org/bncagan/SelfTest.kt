package org.bncagan

import java.security.MessageDigest
import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject

/** Reads a file of a self-test folder by its name: of the application's assets, or of a folder. */
fun interface Files {
    fun read(name: String): ByteArray
}

/** The pictures of one run of the network, all of one size, and strength and exposure of each. */
class Batch(val number: Int, val pictures: List<Picture>, val settings: List<Settings>)

/** A self-test folder (docs/self-test.md); `bncagan verify ARTIFACT --write-self-test FOLDER` writes it. */
class SelfTest(private val files: Files) {
    private val index: JSONObject = try {
        JSONObject(String(files.read("selftest.json"), Charsets.UTF_8))
    } catch (error: JSONException) {
        throw Failure("selftest.json should be JSON but is not (${error.message}); write the self-test folder again")
    }

    init {
        val version = index.getString("format_version")
        if (version.substringBefore('.') != "1") {
            throw Failure("selftest.json should be of format version 1 but is of $version; update this library")
        }
    }

    val weightsSha256: String = index.getString("weights_sha256")
    val precision: String = index.getString("precision")
    val io: String = index.getString("io")
    val controls: Boolean = index.getBoolean("controls")
    private val shape = index.getJSONObject("shapes").run { optJSONArray("fixed")?.getJSONArray(0) }

    /** The pictures that the artifact takes, and their size; 0 if it takes a range. */
    val batch: Int = shape?.getInt(0) ?: 0
    val height: Int = shape?.getInt(1) ?: 0
    val width: Int = shape?.getInt(2) ?: 0
    private val cases = index.getJSONArray("cases").objects()
    private val thresholds = Thresholds(index.getJSONObject("thresholds"))

    /** Runs every batch. `enhance` runs the network on one and returns its answers, one for each picture. */
    fun run(runtime: String, device: String, enhance: (Batch) -> List<Answer>): Verdict {
        val batches = index.getJSONArray("batches")
        val scores = (0 until batches.length()).flatMap { number ->
            val members = batches.getJSONArray(number)
            val chosen = List(members.length()) { cases[members.getInt(it)] }
            val settings = chosen.map {
                Settings(it.getDouble("strength").toFloat(), it.getDouble("exposure").toFloat())
            }
            val answers = enhance(Batch(number, chosen.map { picture(it, "input") }, settings))
            if (answers.size != chosen.size) {
                throw Failure(
                    "a batch of ${chosen.size} pictures should get as many answers but got ${answers.size}; " +
                        "return one for each"
                )
            }
            chosen.zip(answers) { case, answer -> Score(nameOf(case, chosen.size), answer, picture(case, "expected")) }
        }
        return Verdict.of(scores, thresholds, runtime, device, precision)
    }

    private fun nameOf(case: JSONObject, batch: Int) =
        "${case.getString("name")} at ${batch}x${case.getInt("height")}x${case.getInt("width")}"

    private fun picture(case: JSONObject, kind: String): Picture {
        val entry = case.getJSONObject(kind)
        val name = entry.getString("rgb")
        val bytes = files.read(name)
        if (sha256(bytes) != entry.getString("sha256")) {
            throw Failure("$name should be as it was written but was changed; copy the self-test folder again")
        }
        return Picture(case.getInt("height"), case.getInt("width"), bytes)
    }
}

private fun JSONArray.objects(): List<JSONObject> = List(length(), ::getJSONObject)

/** The SHA-256 of some bytes, in hexadecimal digits. */
fun sha256(bytes: ByteArray): String =
    MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }
