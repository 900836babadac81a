package org.bncagan

import kotlin.math.log10
import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class SelfTestTest {
    private val codes = ByteArray(16 * 24 * 3) { (it * 7 % 251).toByte() }
    private var version = "1.7"
    private var hash = sha256(codes)
    private var limits = """{"psnr": 60.0, "max_code": 1, "bias": 0.05, "de_mean": null, "de_p99": 1.0}"""

    /** Two pictures that are to come back unchanged, one by one and as a batch of two. */
    private fun verdict(change: (Batch, Int, FloatArray) -> Unit = { _, _, _ -> }): Verdict {
        val entry = """{"png": "a.png", "rgb": "a.rgb", "sha256": "$hash"}"""
        val cases = listOf("a", "b").joinToString(",") {
            """{"name": "$it", "height": 16, "width": 24, "strength": 1.0, "exposure": 0.0,
                "input": $entry, "expected": $entry, "later": "ignored"}"""
        }
        val index = """{"format_version": "$version", "weights_sha256": "0", "precision": "fp32", "io": "float32",
            "controls": false, "shapes": {"fixed": [[1, 16, 24]]}, "thresholds": $limits,
            "cases": [$cases], "batches": [[0], [1], [0, 1]]}"""
        return SelfTest { if (it == "selftest.json") index.toByteArray() else codes }.run("test", "here") { batch ->
            batch.pictures.mapIndexed { row, picture ->
                Answer.Planes(picture.planes().also { change(batch, row, it) })
            }
        }
    }

    @Test
    fun `identical pictures pass`() {
        val verdict = verdict()
        assertTrue(verdict.passed)
        assertEquals(JSONObject.NULL, verdict.json["psnr_min"])
        assertEquals(4, verdict.json["cases"])
    }

    @Test
    fun `one wrong value of a batch is named`() {
        val verdict = verdict { batch, row, values ->
            if (batch.number == 2 && row == 1) values[5] += if (values[5] < 0.5f) 0.02f else -0.02f
        }
        assertEquals("b at 2x16x24", verdict.worst)
        assertEquals(5, verdict.json["max_code"])
        assertEquals(10 * log10(65025 * 1152 / 25.0), verdict.json.getDouble("psnr_min"), 1e-9)
        assertEquals(1, verdict.failures.size)
    }

    @Test
    fun `NaN is worst`() {
        val verdict = verdict { batch, _, values ->
            if (batch.number == 0) values[0] = Float.NaN
            if (batch.number == 1) for (place in values.indices) values[place] = 1 - values[place]
        }
        assertFalse(verdict.passed)
        assertEquals("a at 1x16x24", verdict.worst)
        assertTrue("NaN or infinity" in verdict.failures[0])
    }

    @Test
    fun `null is no limit`() {
        limits = "{}"
        assertTrue(verdict { _, _, values -> values.fill(0f) }.passed)
    }

    @Test
    fun `what is damaged is refused`() {
        hash = "0"
        assertTrue("was changed" in assertThrows(Failure::class.java) { verdict() }.message!!)
        version = "2.0"
        assertTrue("but is of 2.0" in assertThrows(Failure::class.java) { verdict() }.message!!)
    }

    @Test
    fun `codes are rounded half up`() {
        val values = listOf(-1f, 0f, 0.4999f, 0.5f, 1.5f, 254.5f, 300f)
        assertEquals(listOf(0, 0, 0, 1, 2, 255, 255), values.map { toCode(it / 255) })
    }
}
