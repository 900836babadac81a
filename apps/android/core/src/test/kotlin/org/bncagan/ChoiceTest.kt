package org.bncagan

import java.io.File
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class ChoiceTest {
    private val file = File.createTempFile("verdicts", ".json").also { it.delete() }
    private val verdicts = Verdicts(file)

    private fun verdict(passed: Boolean): Verdict {
        val code = (if (passed) 0 else 9).toByte()
        val black = Picture(1, 1, ByteArray(3))
        val score = Score("a", Answer.Codes(byteArrayOf(code, code, code)), black)
        return Verdict.of(listOf(score), Thresholds(maxCode = 1), "test", "here", "fp16")
    }

    @Test
    fun `a wrong accelerator is demoted and remembered`() {
        for (expectedRuns in listOf(2, 0)) {
            var runs = 0
            val choice = verdicts.firstPassing(listOf("GPU", "CPU"), "k") { runs++; verdict(it == "CPU") }
            assertEquals("CPU", choice.accelerator)
            assertEquals(listOf("GPU: a: the largest difference should be at most 1 but is 9 codes"), choice.demoted)
            assertEquals(expectedRuns, runs)
        }
        val failure = assertThrows(Failure::class.java) {
            verdicts.firstPassing(listOf("CPU"), "new") { verdict(false) }
        }
        assertTrue("none does (CPU: a: " in failure.message!!)
    }

    @Test
    fun `an error is not remembered`() {
        for (busy in listOf(true, false)) {
            val choice = verdicts.firstPassing(listOf("GPU", "CPU"), "k") {
                if (busy && it == "GPU") error("busy") else verdict(true)
            }
            assertEquals(if (busy) "CPU" else "GPU", choice.accelerator)
        }
    }

    @Test
    fun `a damaged file is none`() {
        file.writeText("{")
        assertEquals("CPU", verdicts.firstPassing(listOf("CPU"), "k") { verdict(true) }.accelerator)
    }
}
