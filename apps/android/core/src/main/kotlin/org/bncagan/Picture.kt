package org.bncagan

import kotlin.math.floor

/** An error in one sentence: what was expected, what came, and what to do. */
class Failure(message: String) : Exception(message)

/** An 8-bit RGB picture: height x width x 3 codes, row by row, red first. */
class Picture(val height: Int, val width: Int, val codes: ByteArray) {
    init {
        if (height <= 0 || width <= 0 || codes.size != height * width * 3) {
            throw Failure(
                "a picture of $height x $width should have ${height * width * 3} codes but has ${codes.size}; " +
                    "check its size"
            )
        }
    }

    fun code(index: Int): Int = codes[index].toInt() and 255

    /** The network's input: 3 x height x width values in [0, 1]. */
    fun planes(): FloatArray {
        val pixels = height * width
        return FloatArray(3 * pixels) { code(3 * (it % pixels) + it / pixels) / 255f }
    }
}

/** What a network answered to one picture. */
sealed class Answer {
    /** 3 x height x width values in [0, 1], of an artifact whose `io` is "float32". */
    class Planes(val values: FloatArray) : Answer()

    /** height x width x 3 codes, of one whose `io` is "uint8". */
    class Codes(val values: ByteArray) : Answer()

    /** Whether there is neither NaN nor infinity. */
    val finite: Boolean get() = this !is Planes || values.all(Float::isFinite)

    /** The answer as a picture, with NaN and infinity counted as 0. */
    fun picture(height: Int, width: Int): Picture {
        val pixels = height * width
        val count = if (this is Planes) values.size else (this as Codes).values.size
        if (count != 3 * pixels) {
            throw Failure(
                "an answer to $pixels pixels should have ${3 * pixels} values but has $count; " +
                    "return what the network answered, unchanged"
            )
        }
        return when (this) {
            is Codes -> Picture(height, width, values)
            is Planes -> Picture(height, width, ByteArray(count) { toCode(values[it % 3 * pixels + it / 3]).toByte() })
        }
    }
}

/** A value in [0, 1] as an 8-bit code; values outside are clamped, NaN and infinity are 0. */
fun toCode(value: Float): Int = if (value.isFinite()) floor(255 * value.coerceIn(0f, 1f) + 0.5f).toInt() else 0
