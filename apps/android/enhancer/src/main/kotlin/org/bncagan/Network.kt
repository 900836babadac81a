package org.bncagan

import android.content.Context
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.BuiltinNpuAcceleratorProvider
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.Environment
import com.google.ai.edge.litert.TensorBuffer

/** Where a network may run, in the order to try. A GPU computes in half precision unless told not to. */
enum class ComputeUnit { NPU, GPU, GPU_FP32, CPU }

/**
 * A .tflite of float32 pictures among the application's assets, compiled for one unit. Not run: needs Android.
 *
 * controls: whether the file has the input `controls`.
 */
class Network(context: Context, asset: String, unit: ComputeUnit, private val controls: Boolean) : AutoCloseable {
    private val environment =
        when (unit) {
            ComputeUnit.NPU -> Environment.create(BuiltinNpuAcceleratorProvider(context))
            else -> Environment.create()
        }
    private val model = CompiledModel.create(context.assets, asset, options(unit), environment)
    private val inputs: Map<String, TensorBuffer> =
        (listOf("image") + listOf("controls").filter { controls }).associateWith { model.createInputBuffer(it) }
    private val outputs = mapOf("enhanced" to model.createOutputBuffer("enhanced"))

    /** The answers to a batch of the self-test. */
    fun answers(batch: Batch): List<Answer> {
        val values = reply(batch.pictures, batch.settings)
        val each = values.size / batch.pictures.size
        return batch.pictures.indices.map { Answer.Planes(values.copyOfRange(it * each, (it + 1) * each)) }
    }

    /** The answer to pictures of exactly the file's shape, N x 3 x H x W. */
    fun reply(pictures: List<Picture>, settings: List<Settings>): FloatArray {
        val planes = pictures.map { it.planes() }
        inputs.getValue("image").writeFloat(planes.reduce(FloatArray::plus))
        inputs["controls"]?.writeFloat(settings.flatMap { listOf(it.strength, it.exposure) }.toFloatArray())
        model.run(inputs, outputs)
        return outputs.getValue("enhanced").readFloat()
    }

    override fun close() {
        (inputs.values + outputs.values).forEach { it.close() }
        model.close()
        environment.close()
    }

    private fun options(unit: ComputeUnit): CompiledModel.Options = when (unit) {
        ComputeUnit.NPU -> CompiledModel.Options(Accelerator.NPU)
        ComputeUnit.GPU -> CompiledModel.Options(Accelerator.GPU)
        ComputeUnit.GPU_FP32 -> CompiledModel.Options(Accelerator.GPU).apply {
            gpuOptions = CompiledModel.GpuOptions(precision = CompiledModel.GpuOptions.Precision.FP32)
        }
        ComputeUnit.CPU -> CompiledModel.Options(Accelerator.CPU)
    }
}
