package org.bncagan.sample

import android.graphics.Bitmap
import android.graphics.ImageDecoder
import android.net.Uri
import android.os.Bundle
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.SeekBar
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts.PickVisualMedia
import java.util.concurrent.Executors
import org.bncagan.Enhancer
import org.bncagan.Settings

/** Picks a photograph and shows it enhanced, with strength and exposure. Not run: this file needs Android. */
class SampleActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private var enhancer: Enhancer? = null
    private var photo: Bitmap? = null
    private lateinit var shown: ImageView
    private lateinit var status: TextView
    private lateinit var strength: SeekBar
    private lateinit var exposure: SeekBar
    private val pick = registerForActivityResult(PickVisualMedia()) { it?.let(::open) }

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        shown = ImageView(this).apply { adjustViewBounds = true }
        status = TextView(this).apply { text = "Testing this device ..." }
        strength = slider("Strength", 150, 100)
        exposure = slider("Exposure", 400, 200)
        val choose = Button(this).apply {
            text = "Choose a photograph"
            setOnClickListener { pick.launch(PickVisualMediaRequest(PickVisualMedia.ImageOnly)) }
        }
        setContentView(LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            listOf(choose, status, strength, exposure, shown).forEach(::addView)
        })
        inBackground {
            val made = Enhancer(this)
            enhancer = made
            "Self-test passed on ${made.choice.accelerator}. ${made.choice.demoted.joinToString(" ")}"
        }
    }

    private fun open(uri: Uri) = inBackground {
        val source = ImageDecoder.createSource(contentResolver, uri) // upright, and in sRGB
        photo = ImageDecoder.decodeBitmap(source) { decoder, _, _ ->
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
        }
        show()
    }

    /** Shows the photograph with the settings of the sliders; runs on the worker. */
    private fun show(): String {
        val source = photo ?: return "No photograph is open."
        val settings = Settings(strength.progress / 100f, exposure.progress / 100f - 2)
        val result = enhancer!!.enhance(source, settings)
        runOnUiThread { shown.setImageBitmap(result) }
        return "$settings on ${enhancer!!.choice.accelerator}"
    }

    private fun inBackground(work: () -> String) = worker.execute {
        val said = try {
            work()
        } catch (error: Exception) { // shown to the user, whatever it is
            error.message ?: error.toString()
        }
        runOnUiThread { status.text = said }
    }

    private fun slider(name: String, largest: Int, start: Int) = SeekBar(this).apply {
        contentDescription = name
        max = largest
        progress = start
        setOnSeekBarChangeListener(object : SeekBar.OnSeekBarChangeListener {
            override fun onProgressChanged(bar: SeekBar, value: Int, byUser: Boolean) = Unit
            override fun onStartTrackingTouch(bar: SeekBar) = Unit
            override fun onStopTrackingTouch(bar: SeekBar) = inBackground(::show)
        })
    }

    override fun onDestroy() {
        worker.execute { enhancer?.close() }
        worker.shutdown()
        super.onDestroy()
    }
}
