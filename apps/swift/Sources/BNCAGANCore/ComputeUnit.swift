import Foundation

/// Where a network may run, in the names that `bncagan` uses.
public enum ComputeUnit: String, CaseIterable, Codable, Sendable {
    case neuralEngine = "CPU_AND_NE"
    case gpu = "CPU_AND_GPU"
    case cpu = "CPU_ONLY"

    /// The units to try, the first that passes its self-test is used. An application in the background has no GPU.
    public static func candidates(background: Bool) -> [ComputeUnit] {
        background ? [.neuralEngine, .cpu] : [.neuralEngine, .gpu, .cpu]
    }
}

/// The unit that passed its self-test, and what was wrong with those before it.
public struct Choice: Sendable {
    public let unit: ComputeUnit
    public let verdict: Verdict
    public let demoted: [String]
}

/// The verdicts of earlier launches, in a file of a folder for caches.
public struct Verdicts: Sendable {
    private let file: URL

    public init(file: URL) { self.file = file }

    /// The verdicts by key. A damaged or missing file is none: the self-test runs again.
    func all() -> [String: Verdict] {
        (try? JSONDecoder().decode([String: Verdict].self, from: Data(contentsOf: file))) ?? [:]
    }

    func remember(_ verdict: Verdict, _ key: String) throws {
        var known = all()
        known[key] = verdict
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try JSONEncoder().encode(known).write(to: file, options: .atomic)
    }

    /// Returns the first unit that passes, or throws `Failure`, which says what is wrong with each.
    ///
    /// A verdict is remembered and the unit not tested again under the same key. An error is not remembered: it may
    /// have been one of the moment.
    ///
    /// - Parameters:
    ///   - key: what a verdict is valid for: the weights' hash, and the version of the system, which draws.
    ///   - test: runs the self-test on a unit.
    public func firstPassing(
        _ units: [ComputeUnit], key: String, test: (ComputeUnit) async throws -> Verdict
    ) async throws -> Choice {
        var demoted: [String] = []
        for unit in units {
            do {
                let place = "\(key) \(unit.rawValue)"
                let verdict: Verdict
                if let known = all()[place] {
                    verdict = known
                } else {
                    verdict = try await test(unit)
                    try remember(verdict, place)
                }
                if verdict.passed { return Choice(unit: unit, verdict: verdict, demoted: demoted) }
                demoted.append("\(unit.rawValue): \(verdict.failures.first ?? "no picture was tested")")
            } catch {
                demoted.append("\(unit.rawValue): \(error.localizedDescription)")
            }
        }
        throw Failure(
            "one compute unit should pass the self-test but none does (\(demoted.joined(separator: "; "))); "
                + "export the model again, and report the device")
    }
}
