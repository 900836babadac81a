package org.bncagan

import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow

/**
 * Strength (0 to 1.5) and exposure (-2 to 2 stops) of a result, and the formula of `runtimes/controls.py`:
 *
 *     y = image + strength * (enhanced - image)
 *     result = curve(2^exposure * light(y)), clamped to [0, 1]
 *
 * `light` is the curve of sRGB from codes to linear light, and `curve` is its inverse.
 */
data class Settings(val strength: Float = 1f, val exposure: Float = 0f) {
    init {
        if (strength !in 0f..1.5f || exposure !in -2f..2f) {
            throw Failure(
                "strength should be from 0 to 1.5 and exposure from -2 to 2 but they are $strength and $exposure; " +
                    "choose others"
            )
        }
    }

    /** The result for one value of the photograph and of the network's answer, both in [0, 1]. */
    fun applied(image: Float, enhanced: Float): Float {
        if (strength == 1f && exposure == 0f) return enhanced
        val mixed = max(strength * enhanced + (1 - strength) * image, 0f)
        return min(if (exposure == 0f) mixed else code(2f.pow(exposure) * light(mixed)), 1f)
    }

    private fun light(code: Float) = if (code > 0.04045f) ((code + 0.055f) / 1.055f).pow(2.4f) else code / 12.92f

    private fun code(light: Float) =
        if (light > 0.04045f / 12.92f) 1.055f * light.pow(1 / 2.4f) - 0.055f else 12.92f * light
}
