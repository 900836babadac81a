import Foundation
import XCTest

@testable import BNCAGANCore

final class ComputeUnitTests: XCTestCase {
    private let file = FileManager.default.temporaryDirectory
        .appendingPathComponent(UUID().uuidString).appendingPathComponent("verdicts.json")

    private func verdict(_ unit: ComputeUnit, passed: Bool) throws -> Verdict {
        let black = try Picture(height: 1, width: 1, codes: [0, 0, 0])
        let score = try Score(name: "a", answer: .codes(passed ? [0, 0, 0] : [9, 9, 9]), expected: black)
        return Verdict(
            scores: [score], thresholds: Thresholds(maxCode: 1), runtime: "test", device: unit.rawValue,
            precision: "fp16")
    }

    func testAWrongUnitIsDemotedAndRemembered() async throws {
        let verdicts = Verdicts(file: file)
        for expectedRuns in [2, 0] {
            var runs: [ComputeUnit] = []
            let choice = try await verdicts.firstPassing(ComputeUnit.candidates(background: false), key: "k") { unit in
                runs.append(unit)
                return try self.verdict(unit, passed: unit != .neuralEngine)
            }
            XCTAssertEqual(choice.unit, .gpu)
            XCTAssertEqual(choice.demoted, ["CPU_AND_NE: a: the largest difference should be at most 1 but is 9 codes"])
            XCTAssertEqual(runs.count, expectedRuns)
        }
    }

    func testAnotherKeyIsTestedAgain() async throws {
        let verdicts = Verdicts(file: file)
        _ = try await verdicts.firstPassing([.cpu], key: "old") { try self.verdict($0, passed: true) }
        do {
            _ = try await verdicts.firstPassing([.cpu], key: "new") { try self.verdict($0, passed: false) }
            XCTFail("it should fail")
        } catch {
            XCTAssertTrue(error.localizedDescription.contains("CPU_ONLY: a: the largest difference"))
        }
    }

    func testAnErrorIsNotRemembered() async throws {
        let verdicts = Verdicts(file: file)
        for passing in [ComputeUnit.cpu, .gpu] {
            let choice = try await verdicts.firstPassing([.gpu, .cpu], key: "k") { unit in
                if unit == .gpu, passing == .cpu { throw Failure("busy") }
                return try self.verdict(unit, passed: true)
            }
            XCTAssertEqual(choice.unit, passing)
        }
    }

    func testNoGPUInTheBackground() {
        XCTAssertEqual(ComputeUnit.candidates(background: true), [.neuralEngine, .cpu])
    }

    func testADamagedFileIsNone() throws {
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data("{".utf8).write(to: file)
        XCTAssertTrue(Verdicts(file: file).all().isEmpty)
    }
}
