import Foundation

/// A self-test folder: pictures whose answers are known, and the limits on what a device may draw instead.
public struct SelfTest: Sendable {
    public let index: SelfTestIndex
    private let folder: URL

    /// The pictures of one run of the network. Their sizes are equal.
    public struct Batch: Sendable {
        /// Its place among the folder's batches.
        public let number: Int
        public let pictures: [Picture]
        /// Strength and exposure of each picture; of use only if the artifact has the input `controls`.
        public let settings: [Settings]
    }

    /// Opens a folder that `bncagan verify ARTIFACT --write-self-test FOLDER` wrote.
    public init(folder: URL) throws {
        self.folder = folder
        index = try SelfTestIndex(contentsOf: folder.appendingPathComponent("selftest.json"))
    }

    /// Runs every batch and returns the verdict.
    ///
    /// - Parameters:
    ///   - runtime: the backend and its version.
    ///   - device: the device that really runs, as the backend calls it.
    ///   - enhance: runs the network on a batch and returns its answers, one for each picture.
    public func run(runtime: String, device: String, enhance: (Batch) throws -> [Answer]) throws -> Verdict {
        var scores: [Score] = []
        for (number, members) in index.batches.enumerated() {
            let cases = members.map { index.cases[$0] }
            let batch = Batch(
                number: number, pictures: try cases.map { try picture($0, $0.input) },
                settings: try cases.map { try Settings(strength: $0.strength, exposure: $0.exposure) })
            let answers = try enhance(batch)
            guard answers.count == cases.count else {
                throw Failure(
                    "a batch of \(cases.count) pictures should get as many answers but got \(answers.count); "
                        + "return one for each")
            }
            for (test, answer) in zip(cases, answers) {
                let name = "\(test.name) at \(cases.count)x\(test.height)x\(test.width)"
                scores.append(try Score(name: name, answer: answer, expected: picture(test, test.expected)))
            }
        }
        return Verdict(
            scores: scores, thresholds: index.thresholds, runtime: runtime, device: device, precision: index.precision)
    }

    private func picture(_ test: SelfTestIndex.Case, _ files: SelfTestIndex.Files) throws -> Picture {
        guard let name = files.rgb else {
            throw Failure("\(test.name) should have a .rgb file but has none; write the self-test folder again")
        }
        let file = folder.appendingPathComponent(name)
        let data: Data
        do {
            data = try Data(contentsOf: file)
        } catch {
            throw Failure("\(file.path) should be a picture but cannot be read (\(error)); copy the folder again")
        }
        guard sha256(data) == files.sha256 else {
            throw Failure("\(file.path) should be as it was written but was changed; copy the folder again")
        }
        return try Picture(height: test.height, width: test.width, codes: [UInt8](data))
    }
}
