package org.bncagan

/**
 * The tone head's decision for one photograph, which applies to every pixel at any size: 16 numbers.
 *
 * Black level, gain, six steps, S, lift, saturation, the gains of red, green and blue, the share of the change, 0.
 */
class Tone(private val numbers: FloatArray) {
    init {
        if (numbers.size != 16 || !numbers.all(Float::isFinite)) {
            throw Failure("a tone should have 16 finite numbers but has ${numbers.toList()}; run the network again")
        }
    }

    /** Changes red, green and blue, each in [0, 1], in place. */
    fun apply(pixel: FloatArray) {
        val value = FloatArray(3) { curve(pixel[it]) }
        val luma = 0.299f * value[0] + 0.587f * value[1] + 0.114f * value[2]
        for (channel in 0..2) {
            val saturated = value[channel] + (value[channel] - luma) * numbers[10]
            val result = (saturated * numbers[11 + channel]).coerceIn(0f, 1f)
            pixel[channel] += numbers[14] * (result - pixel[channel])
        }
    }

    private fun curve(x: Float): Float {
        val start = ((x - numbers[0]) * numbers[1]).coerceIn(0f, 1f)
        var added = 0f
        var value = start
        for (step in 2..7) {
            added += numbers[step] * value * (1 - value)
            value = start + added
        }
        added += numbers[8] * value * (1 - value) * (2 * value - 1)
        value = start + added
        return start + (added + numbers[9] * (1 - value))
    }

    companion object {
        /** Changes nothing. */
        fun identity() = Tone(floatArrayOf(0f, 1f, 0f, 0f, 0f, 0f, 0f, 0f, 0f, 0f, 0f, 1f, 1f, 1f, 0f, 0f))
    }
}
