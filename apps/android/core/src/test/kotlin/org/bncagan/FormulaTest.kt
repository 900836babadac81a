package org.bncagan

import java.io.File
import org.json.JSONArray
import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test

/** The formulas against numbers that the Python code computed, the same that the Swift package is tested on. */
class FormulaTest {
    private val numbers =
        JSONObject(File("../../swift/Tests/BNCAGANCoreTests/Fixtures/formulas.json").readText())

    @Test
    fun controls() {
        for (expected in objects("controls")) {
            val settings = Settings(expected.getDouble("strength").toFloat(), expected.getDouble("exposure").toFloat())
            val image = floats(expected.getJSONArray("image"))
            val enhanced = floats(expected.getJSONArray("enhanced"))
            floats(expected.getJSONArray("result")).forEachIndexed { place, result ->
                assertEquals(result, settings.applied(image[place], enhanced[place]), 2e-6f, "$settings at $place")
            }
        }
        assertThrows(Failure::class.java) { Settings(strength = 1.6f) }
        assertThrows(Failure::class.java) { Settings(exposure = Float.NaN) }
    }

    @Test
    fun tone() {
        for (expected in objects("tone")) {
            val tone = Tone(floats(expected.getJSONArray("tone")))
            val image = expected.getJSONArray("image")
            for (place in 0 until image.length()) {
                val pixel = floats(image.getJSONArray(place))
                tone.apply(pixel)
                assertEqual(floats(expected.getJSONArray("result").getJSONArray(place)), pixel)
            }
        }
        val pixel = floatArrayOf(0.1f, 0.5f, 0.9f)
        Tone.identity().apply(pixel)
        assertEqual(floatArrayOf(0.1f, 0.5f, 0.9f), pixel)
        assertThrows(Failure::class.java) { Tone(floatArrayOf(1f)) }
    }

    @Test
    fun maps() {
        val expected = numbers.getJSONObject("maps")
        val maps = Maps(expected.getInt("height"), expected.getInt("width"), floats(expected.getJSONArray("values")))
        val photo = expected.getJSONArray("photo")
        for (row in 0 until photo.length()) {
            val columns = photo.getJSONArray(row)
            for (column in 0 until columns.length()) {
                val pixel = floats(columns.getJSONArray(column))
                maps.apply(pixel, row, column, photo.length(), columns.length())
                assertEqual(floats(expected.getJSONArray("result").getJSONArray(row).getJSONArray(column)), pixel)
            }
        }
        assertThrows(Failure::class.java) { Maps(2, 2, floatArrayOf(0f)) }
    }

    private fun objects(name: String) = numbers.getJSONArray(name).let { all -> List(all.length(), all::getJSONObject) }

    private fun floats(array: JSONArray) = FloatArray(array.length()) { array.getDouble(it).toFloat() }

    private fun assertEqual(expected: FloatArray, made: FloatArray) =
        expected.indices.forEach { assertEquals(expected[it], made[it], 2e-6f) }
}
