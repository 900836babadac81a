import Foundation
import XCTest

@testable import BNCAGANCore

/// The formulas against numbers that the Python code computed (tests/test_other_languages.py checks them).
final class FormulaTests: XCTestCase {
    private struct Numbers: Decodable {
        struct Controlled: Decodable {
            let strength: Float, exposure: Float, image: [Float], enhanced: [Float], result: [Float]
        }
        struct Toned: Decodable {
            let tone: [Float], image: [[Float]], result: [[Float]]
        }
        struct Mapped: Decodable {
            let height: Int, width: Int, values: [Float], photo: [[[Float]]], result: [[[Float]]]
        }
        let controls: [Controlled], tone: [Toned], maps: Mapped
    }

    private func numbers() throws -> Numbers {
        let file = try XCTUnwrap(
            Bundle.module.url(forResource: "formulas", withExtension: "json", subdirectory: "Fixtures"))
        return try JSONDecoder().decode(Numbers.self, from: Data(contentsOf: file))
    }

    func testControls() throws {
        let numbers = try numbers().controls
        XCTAssertFalse(numbers.isEmpty)
        for expected in numbers {
            let settings = try Settings(strength: expected.strength, exposure: expected.exposure)
            for (place, result) in expected.result.enumerated() {
                let value = settings.applied(image: expected.image[place], enhanced: expected.enhanced[place])
                XCTAssertEqual(value, result, accuracy: 2e-6, "\(settings) at \(place)")
            }
        }
        XCTAssertThrowsError(try Settings(strength: 1.6))
        XCTAssertThrowsError(try Settings(exposure: .nan))
    }

    func testTone() throws {
        let numbers = try numbers().tone
        XCTAssertFalse(numbers.isEmpty)
        for expected in numbers {
            let tone = try Tone(expected.tone)
            for (pixel, result) in zip(expected.image, expected.result) {
                assertEqual(tone.applied(to: SIMD3(pixel)), SIMD3(result))
            }
        }
        assertEqual(Tone.identity.applied(to: SIMD3(0.1, 0.5, 0.9)), SIMD3(0.1, 0.5, 0.9))
        XCTAssertThrowsError(try Tone([1, 2]))
    }

    func testMaps() throws {
        let numbers = try numbers().maps
        let maps = try Maps(height: numbers.height, width: numbers.width, values: numbers.values)
        let size = (height: numbers.photo.count, width: numbers.photo[0].count)
        for row in 0..<size.height {
            for column in 0..<size.width {
                let made = maps.applied(to: SIMD3(numbers.photo[row][column]), row: row, column: column, of: size)
                assertEqual(made, SIMD3(numbers.result[row][column]))
            }
        }
        XCTAssertThrowsError(try Maps(height: 2, width: 2, values: [0]))
    }

    func testSHA256() {
        // FIPS 180-4's examples, and lengths around a block of 64 bytes, by Python's hashlib
        XCTAssertEqual(sha256(Data()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        XCTAssertEqual(sha256(Data("abc".utf8)), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let around = [
            55: "943cc61860776ca8e78a365d988036ed2ade2ca4aca3236dd9501adc4fbbaa27",
            56: "849e6994b02d460680d1d4d9ed690aa35811c88056987e0b6cad0eb85cb7d98d",
            64: "6cfeeb3aa25d3f411dae5eec17d7369ca7153e72dcf54bcf4c3daec0f5b21fc7",
            119: "62f7b490eef6978ea4e047afde0cfd06b542157473c8911d06c787a4de76ef8e",
            200: "83ed56670125a357640623904bc0c1a17fdc835d75eef70363750f1a9c8ba724",
        ]
        for (length, expected) in around {
            XCTAssertEqual(sha256(Data(repeating: 7, count: length)), expected)
            XCTAssertEqual(plainSHA256([UInt8](repeating: 7, count: length)).count, 32)
        }
    }

    private func assertEqual(_ made: SIMD3<Float>, _ expected: SIMD3<Float>, line: UInt = #line) {
        for channel in 0..<3 { XCTAssertEqual(made[channel], expected[channel], accuracy: 2e-6, line: line) }
    }
}
