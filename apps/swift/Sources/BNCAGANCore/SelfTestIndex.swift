import Foundation

/// The file selftest.json, as docs/self-test.md describes it. Fields that are not here are ignored.
public struct SelfTestIndex: Decodable, Sendable {
    public let formatVersion: String
    public let artifact: String
    public let model: String
    public let weightsSHA256: String
    public let precision: String
    public let io: String
    public let layout: String
    public let inputName: String
    public let outputName: String
    public let controls: Bool
    public let shapes: Shapes
    public let thresholds: Thresholds
    public let cases: [Case]
    public let batches: [[Int]]

    /// The shapes that the artifact takes, each [N, height, width].
    public struct Shapes: Decodable, Sendable {
        public let fixed: [[Int]]?
        public let minimum: [Int]?
        public let optimum: [Int]?
        public let maximum: [Int]?
    }

    /// A picture and its settings.
    public struct Case: Decodable, Sendable {
        public let name: String
        public let height: Int
        public let width: Int
        public let strength: Float
        public let exposure: Float
        public let input: Files
        public let expected: Files
    }

    /// The same picture twice, and the hash of its bare bytes. One of the two files may be missing.
    public struct Files: Decodable, Sendable {
        public let png: String?
        public let rgb: String?
        public let sha256: String
    }

    enum CodingKeys: String, CodingKey {
        case formatVersion = "format_version", artifact, model, weightsSHA256 = "weights_sha256", precision, io, layout
        case inputName = "input_name", outputName = "output_name", controls, shapes, thresholds, cases, batches
    }

    /// Reads selftest.json; throws `Failure` if it is missing, damaged or of a newer format.
    public init(contentsOf file: URL) throws {
        do {
            self = try JSONDecoder().decode(Self.self, from: Data(contentsOf: file))
        } catch {
            throw Failure(
                "\(file.path) should be the index of a self-test folder but cannot be read (\(error)); "
                    + "write the folder again: bncagan verify ARTIFACT --write-self-test FOLDER")
        }
        guard formatVersion.split(separator: ".").first == "1" else {
            throw Failure(
                "\(file.path) should be of format version 1 but is of \(formatVersion); update this package")
        }
        guard batches.allSatisfy({ !$0.isEmpty && $0.allSatisfy(cases.indices.contains) }) else {
            throw Failure(
                "\(file.path) should have batches of its \(cases.count) cases but names others; write it again")
        }
    }
}
