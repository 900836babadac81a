package org.bncagan

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Color
import android.os.Build
import java.io.File
import java.util.stream.IntStream

/**
 * Enhances photographs on the first accelerator that passes its self-test. Not run: this file needs Android.
 *
 * The first launch tests each accelerator until one passes, which takes seconds: make it on a background thread, and
 * keep it. One thread at a time may use it.
 *
 * model: a .tflite among the assets, of `bncagan export litert`.
 * selfTest: a folder of the assets, of `bncagan verify MODEL --write-self-test`.
 */
class Enhancer(
    context: Context,
    model: String = "model.tflite",
    selfTest: String = "self-test",
    units: List<ComputeUnit> = ComputeUnit.entries,
) : AutoCloseable {
    /** The accelerator that runs, its verdict, and what was wrong with others. */
    val choice: Choice<ComputeUnit>
    private val network: Network
    private val test = SelfTest { name -> context.assets.open("$selfTest/$name").use { it.readBytes() } }

    init {
        val verdicts = Verdicts(File(context.cacheDir, "bncagan-verdicts.json"))
        val key = "${test.weightsSha256} ${test.precision} ${Build.FINGERPRINT}" // drivers come with the system
        choice = verdicts.firstPassing(units, key) { unit ->
            Network(context, model, unit, test.controls).use { network ->
                test.run("LiteRT", unit.name) { network.answers(it) }
            }
        }
        network = Network(context, model, choice.accelerator, test.controls)
        require(test.batch == 1) { "$model should take one picture but takes ${test.batch}; export it with --batch 1" }
    }

    /**
     * The enhanced photograph, of the size of `photo`, in sRGB.
     *
     * The network sees a reduced copy; its change is scaled up and added to every pixel. Then come strength and
     * exposure.
     */
    fun enhance(photo: Bitmap, settings: Settings = Settings()): Bitmap {
        val small = pictureOf(Bitmap.createScaledBitmap(photo, test.width, test.height, true))
        val maps = changeOf(small, Answer.Planes(network.reply(listOf(small), listOf(Settings()))))
        val pixels = IntArray(photo.width * photo.height)
        photo.getPixels(pixels, 0, photo.width, 0, 0, photo.width, photo.height)
        IntStream.range(0, photo.height).parallel().forEach { row ->
            for (column in 0 until photo.width) {
                val place = row * photo.width + column
                val image = FloatArray(3) { (pixels[place] shr (16 - 8 * it) and 255) / 255f }
                val enhanced = image.copyOf()
                maps.apply(enhanced, row, column, photo.height, photo.width)
                val codes = IntArray(3) { toCode(settings.applied(image[it], enhanced[it])) }
                pixels[place] = Color.argb(Color.alpha(pixels[place]), codes[0], codes[1], codes[2])
            }
        }
        return Bitmap.createBitmap(pixels, photo.width, photo.height, Bitmap.Config.ARGB_8888)
    }

    /** The change as maps of one window for each pixel: no A, and b the difference. */
    private fun changeOf(small: Picture, answer: Answer.Planes): Maps {
        if (!answer.finite) {
            throw Failure("the network should answer finite numbers but answered NaN or infinity; run its self-test")
        }
        val before = small.planes()
        val pixels = small.height * small.width
        val values = FloatArray(12 * pixels)
        for (channel in 0..2) for (pixel in 0 until pixels) {
            val place = channel * pixels + pixel
            values[(4 * channel + 3) * pixels + pixel] = answer.values[place] - before[place]
        }
        return Maps(small.height, small.width, values)
    }

    override fun close() = network.close()

    private fun pictureOf(bitmap: Bitmap): Picture {
        val pixels = IntArray(bitmap.width * bitmap.height)
        bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        val codes = ByteArray(3 * pixels.size) { (pixels[it / 3] shr (16 - 8 * (it % 3))).toByte() }
        return Picture(bitmap.height, bitmap.width, codes)
    }
}
