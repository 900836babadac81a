import BNCAGAN
import BNCAGANCore
import Foundation

let usage = """
    usage: bncagan-selftest FOLDER --model PACKAGE [--unit CPU_AND_NE|CPU_AND_GPU|CPU_ONLY]
           bncagan-selftest FOLDER --answers FOLDER

    Runs a self-test folder on a Core ML package (macOS), or judges answers that another program wrote: 0.f32 holds
    those to the first batch. Prints the verdict as JSON. The exit code is 0 if it passed, 1 if it failed, 2 for an
    error.
    """

func run(_ arguments: [String]) async throws -> Int32 {
    guard arguments.count >= 3, arguments.count % 2 == 1 else { throw Failure(usage) }
    var options: [String: String] = [:]
    for place in stride(from: 1, to: arguments.count, by: 2) { options[arguments[place]] = arguments[place + 1] }
    let test = try SelfTest(folder: URL(fileURLWithPath: arguments[0]))
    let verdict: Verdict
    switch Set(options.keys) {
    case ["--answers"]:
        let recorded = RecordedAnswers(folder: URL(fileURLWithPath: options["--answers"]!))
        verdict = try test.run(runtime: "recorded answers", device: "recorded") {
            try recorded.answers(to: $0, io: test.index.io)
        }
    case ["--model"], ["--model", "--unit"]:
        guard let unit = ComputeUnit(rawValue: options["--unit"] ?? ComputeUnit.neuralEngine.rawValue) else {
            throw Failure(usage)
        }
        verdict = try await coreMLVerdict(of: URL(fileURLWithPath: options["--model"]!), unit: unit, test: test)
    default:
        throw Failure(usage)
    }
    print(try verdict.json())
    return verdict.passed ? 0 : 1
}

func coreMLVerdict(of package: URL, unit: ComputeUnit, test: SelfTest) async throws -> Verdict {
    #if canImport(CoreML)
    let network = try await Network(package: package, key: test.index.weightsSHA256, unit: unit)
    return try test.run(runtime: "Core ML", device: unit.rawValue) { try network.answers(to: $0) }
    #else
    throw Failure("a Core ML package should be tested on a Mac but this is none; use --answers")
    #endif
}

do {
    exit(try await run(Array(CommandLine.arguments.dropFirst())))
} catch {
    FileHandle.standardError.write(Data("\(error.localizedDescription)\n".utf8))
    exit(2)
}
