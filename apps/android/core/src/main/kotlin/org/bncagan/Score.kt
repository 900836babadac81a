package org.bncagan

import java.util.Locale
import kotlin.math.abs
import kotlin.math.log10
import kotlin.math.max
import org.json.JSONObject

/** The differences between what a device produced for one picture and what was expected. */
class Score(val name: String, answer: Answer, expected: Picture) {
    /** Whether there was no NaN and no infinity. */
    val finite: Boolean = answer.finite

    /** In dB, with peak 255; null if no value differs. */
    val psnr: Double?

    /** The largest difference, in codes. */
    val maxCode: Int

    /** The share of the pixels in which a channel differs by more than 1 code. */
    val shareOver1: Double

    /** The mean of produced - expected for red, green and blue, in codes. */
    val bias: DoubleArray

    init {
        val produced = answer.picture(expected.height, expected.width)
        val pixels = expected.height * expected.width
        val sums = LongArray(3)
        var squares = 0L
        var largest = 0
        var over = 0
        for (pixel in 0 until pixels) {
            var worst = 0
            for (channel in 0..2) {
                val difference = produced.code(3 * pixel + channel) - expected.code(3 * pixel + channel)
                sums[channel] += difference.toLong()
                squares += difference * difference
                worst = max(worst, abs(difference))
            }
            largest = max(largest, worst)
            if (worst > 1) over++
        }
        psnr = if (squares == 0L) null else 10 * log10(255.0 * 255 * 3 * pixels / squares)
        maxCode = largest
        shareOver1 = over.toDouble() / pixels
        bias = DoubleArray(3) { sums[it].toDouble() / pixels }
    }

    /** The largest bias of a channel, without its sign. */
    val biasMax: Double get() = bias.maxOf(::abs)
}

/** The limits that every picture must keep; null is no limit. Those on CIEDE2000, not computed here, are left out. */
class Thresholds(val psnr: Double? = null, val maxCode: Int? = null, val bias: Double? = null) {
    constructor(json: JSONObject) : this(
        json.numberOrNull("psnr"), json.numberOrNull("max_code")?.toInt(), json.numberOrNull("bias")
    )

    /** A sentence for each limit that the picture breaks. */
    fun failures(score: Score): List<String> = buildList {
        val name = score.name
        if (!score.finite) add("$name: the output should be finite but has NaN or infinity")
        if (psnr != null && score.psnr != null && score.psnr < psnr) {
            add("$name: PSNR should be at least $psnr dB but is ${rounded(score.psnr)} dB")
        }
        if (maxCode != null && score.maxCode > maxCode) {
            add("$name: the largest difference should be at most $maxCode but is ${score.maxCode} codes")
        }
        if (bias != null && score.biasMax > bias) {
            add("$name: the bias of a channel should be at most $bias but is ${rounded(score.biasMax)} codes")
        }
    }

    private fun rounded(number: Double) = String.format(Locale.ROOT, "%.2f", number)
}

internal fun JSONObject.numberOrNull(name: String): Double? = if (isNull(name)) null else getDouble(name)
