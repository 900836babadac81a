package org.bncagan

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.system.exitProcess

/**
 * Judges answers that another program wrote: `0.f32` (float32, little-endian, N x 3 x H x W) holds those to batch 0.
 *
 * Arguments: the self-test folder and the folder of answers. Prints the verdict; the exit code is 0, or 1 if it failed.
 */
fun main(arguments: Array<String>) {
    val (folder, answers) = arguments.map(::File)
    val verdict = SelfTest { folder.resolve(it).readBytes() }.run("recorded answers", "recorded") { batch ->
        val bytes = answers.resolve("${batch.number}.f32").readBytes()
        val values = FloatArray(bytes.size / 4)
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(values)
        val each = values.size / batch.pictures.size
        batch.pictures.indices.map { Answer.Planes(values.copyOfRange(it * each, (it + 1) * each)) }
    }
    println(verdict.json.toString(2))
    exitProcess(if (verdict.passed) 0 else 1)
}
