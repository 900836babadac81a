import Foundation
import XCTest

@testable import BNCAGANCore

final class SelfTestTests: XCTestCase {
    private var folder = URL(fileURLWithPath: "")
    private var pictures: [Picture] = []

    override func setUpWithError() throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        for step in [7, 8] {
            let codes: [UInt8] = (0..<1152).map { (place: Int) -> UInt8 in UInt8(place * step % 251) }
            pictures.append(try Picture(height: 16, width: 24, codes: codes))
        }
        try write(thresholds: #"{"psnr": 60.0, "max_code": 1, "bias": 0.05, "de_mean": null, "de_p99": 1.0}"#)
    }

    override func tearDown() { try? FileManager.default.removeItem(at: folder) }

    /// A folder whose pictures are to come back unchanged, one by one and as a batch of two.
    private func write(thresholds: String, version: String = "1.7") throws {
        var cases: [String] = []
        for (number, picture) in pictures.enumerated() {
            let data = Data(picture.codes)
            try data.write(to: folder.appendingPathComponent("\(number).rgb"))
            let files = #"{"png": "absent.png", "rgb": "\#(number).rgb", "sha256": "\#(sha256(data))"}"#
            cases.append(
                #"""
                {"name": "picture \#(number)", "height": 16, "width": 24, "strength": 1.0, "exposure": 0.0,
                 "input": \#(files), "expected": \#(files), "later": "ignored"}
                """#)
        }
        let index = #"""
            {"format_version": "\#(version)", "artifact": "m", "model": "bncagan", "weights_sha256": "0",
             "precision": "fp32", "io": "float32", "layout": "NCHW", "input_name": "image",
             "output_name": "enhanced", "controls": false,
             "shapes": {"minimum": [1, 16, 16], "optimum": [1, 16, 24], "maximum": [2, 64, 64]},
             "thresholds": \#(thresholds), "cases": [\#(cases.joined(separator: ","))], "batches": [[0], [1], [0, 1]]}
            """#
        try Data(index.utf8).write(to: folder.appendingPathComponent("selftest.json"))
    }

    private func verdict(_ change: @escaping (Int, Int, inout [Float]) -> Void = { _, _, _ in }) throws -> Verdict {
        try SelfTest(folder: folder).run(runtime: "test", device: "here") { batch in
            batch.pictures.enumerated().map { row, picture in
                var values = picture.planes
                change(batch.number, row, &values)
                return .planes(values)
            }
        }
    }

    private func invert(_ values: inout [Float]) {
        for place in values.indices { values[place] = 1 - values[place] }
    }

    func testIdenticalPicturesPass() throws {
        let verdict = try verdict()
        XCTAssertTrue(verdict.passed)
        XCTAssertNil(verdict.psnrMin)
        XCTAssertEqual(verdict.cases, 4)
        let json = try JSONSerialization.jsonObject(with: Data(try verdict.json().utf8)) as? [String: Any]
        XCTAssertTrue(json?["psnr_min"] is NSNull)
        XCTAssertEqual(json?["max_code"] as? Int, 0)
        XCTAssertEqual(try JSONDecoder().decode(Verdict.self, from: Data(try verdict.json().utf8)), verdict)
    }

    func testOneWrongValueOfABatchIsNamed() throws {
        let verdict = try verdict { batch, row, values in
            if batch == 2, row == 1 { values[5] += values[5] < 0.5 ? 0.02 : -0.02 }
        }
        XCTAssertEqual(verdict.worst, "picture 1 at 2x16x24")
        XCTAssertEqual(verdict.maxCode, 5)
        XCTAssertEqual(verdict.shareOver1, 1.0 / 384)
        let mse = 25.0 / 1152
        XCTAssertEqual(verdict.psnrMin!, 10 * log10(65025 / mse), accuracy: 1e-9)
        XCTAssertEqual(verdict.failures.count, 1)
        XCTAssertTrue(verdict.failures[0].hasPrefix("picture 1 at 2x16x24: "))
    }

    func testNaNIsWorst() throws {
        let verdict = try verdict { batch, _, values in
            if batch == 0 { values[0] = .nan }
            if batch == 1 { self.invert(&values) }
        }
        XCTAssertFalse(verdict.passed)
        XCTAssertEqual(verdict.worst, "picture 0 at 1x16x24")
        XCTAssertTrue(verdict.failures[0].contains("NaN or infinity"))
    }

    func testNullIsNoLimit() throws {
        try write(thresholds: #"{"psnr": null, "max_code": null, "bias": null, "de_mean": null, "de_p99": null}"#)
        XCTAssertTrue(try verdict { _, _, values in self.invert(&values) }.passed)
    }

    func testWhatIsDamagedIsRefused() throws {
        try Data(repeating: 0, count: 16 * 24 * 3).write(to: folder.appendingPathComponent("1.rgb"))
        XCTAssertThrowsError(try verdict()) { XCTAssertTrue("\($0)".contains("was changed")) }
        try Data(repeating: 0, count: 3).write(to: folder.appendingPathComponent("1.rgb"))
        XCTAssertThrowsError(try verdict()) { XCTAssertTrue("\($0)".contains("was changed")) }
        try write(thresholds: "{}", version: "2.0")
        XCTAssertThrowsError(try verdict()) { XCTAssertTrue("\($0)".contains("but is of 2.0")) }
    }

    func testAnswersOfAnotherSizeAreRefused() throws {
        XCTAssertThrowsError(try verdict { _, _, values in values.removeLast() }) {
            XCTAssertTrue("\($0)".contains("should have 1152 values but has 1151"))
        }
    }

    func testCodesAreRoundedHalfUp() {
        let values: [Float] = [-1, 0, 0.4999, 0.5, 1.5, 254.5, 300]
        let codes: [UInt8] = values.map { (value: Float) -> UInt8 in code(of: value / 255) }
        XCTAssertEqual(codes, [0, 0, 0, 1, 2, 255, 255])
    }
}
