package org.bncagan

/**
 * The generator's change of a photograph: for each window of a coarse grid an affine transform of colours, A and b. It
 * applies to the photograph at any size, after the tone.
 *
 * values: 12 x height x width, the rows of (A | b): A00 A01 A02 b0 A10 ... b2.
 */
class Maps(private val height: Int, private val width: Int, private val values: FloatArray) {
    init {
        if (height <= 0 || width <= 0 || values.size != 12 * height * width) {
            throw Failure(
                "maps of $height x $width should have ${12 * height * width} values but have ${values.size}; " +
                    "run the network again"
            )
        }
    }

    /** Changes the pixel (after the tone) at (row, column) of a photograph of rows x columns, in place. */
    fun apply(pixel: FloatArray, row: Int, column: Int, rows: Int, columns: Int) {
        val down = Place(row, rows, height)
        val along = Place(column, columns, width)
        val changed = FloatArray(3) { channel ->
            var change = value(4 * channel + 3, down, along)
            for (other in 0..2) change += value(4 * channel + other, down, along) * pixel[other]
            (pixel[channel] + change).coerceIn(0f, 1f)
        }
        changed.copyInto(pixel)
    }

    private fun value(map: Int, down: Place, along: Place): Float {
        fun at(row: Int, column: Int) = values[(map * height + row) * width + column]
        fun mixed(a: Float, b: Float, share: Float) = a + (b - a) * share
        val upper = mixed(at(down.first, along.first), at(down.first, along.next), along.share)
        val lower = mixed(at(down.next, along.first), at(down.next, along.next), along.share)
        return mixed(upper, lower, down.share)
    }

    /** The windows before and after a pixel, and the share of the latter: centres of both at half pixels. */
    private class Place(index: Int, length: Int, windows: Int) {
        private val position = ((index + 0.5f) * windows / length - 0.5f).coerceIn(0f, windows - 1f)
        val first = position.toInt()
        val next = minOf(first + 1, windows - 1)
        val share = position - first
    }
}
