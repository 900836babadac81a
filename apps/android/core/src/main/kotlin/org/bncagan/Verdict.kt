package org.bncagan

import org.json.JSONArray
import org.json.JSONObject

/** The result of a self-test: the JSON object that docs/self-test.md describes. */
class Verdict(val json: JSONObject) {
    val passed: Boolean get() = json.getBoolean("passed")
    val device: String get() = json.getString("device")
    val worst: String get() = json.getString("worst")
    val failures: List<String> get() = json.getJSONArray("failures").let { all -> List(all.length(), all::getString) }

    companion object {
        /** Summarizes the scores of all pictures, at least one. `device` is the one that really ran. */
        fun of(
            scores: List<Score>, thresholds: Thresholds, runtime: String, device: String, precision: String
        ): Verdict {
            val decibels = scores.mapNotNull { it.psnr }
            val failures = scores.flatMap(thresholds::failures)
            val worst = scores.minWith(compareBy({ it.finite }, { it.psnr ?: Double.POSITIVE_INFINITY }))
            val json = JSONObject()
                .put("label", "measured")
                .put("passed", failures.isEmpty())
                .put("runtime", runtime)
                .put("device", device)
                .put("precision", precision)
                .put("psnr_min", decibels.minOrNull() ?: JSONObject.NULL)
                .put("psnr_mean", if (decibels.isEmpty()) JSONObject.NULL else decibels.average())
                .put("max_code", scores.maxOf { it.maxCode })
                .put("share_over_1", scores.maxOf { it.shareOver1 })
                .put("bias_max", scores.maxOf { it.biasMax })
                .put("de_mean", JSONObject.NULL)
                .put("de_p99", JSONObject.NULL)
                .put("cases", scores.size)
                .put("worst", worst.name)
                .put("failures", JSONArray(failures))
            return Verdict(json)
        }
    }
}
