#if canImport(CoreML)
import BNCAGANCore
import CoreML
import CoreVideo
import Foundation

/// A Core ML package, loaded on one compute unit. Not run: this file needs Apple's frameworks.
///
/// Both kinds of pixels work: images (`--io uint8`) and arrays (`float32`).
public final class Network: @unchecked Sendable {  // MLModel's prediction is safe to call from any thread
    /// What the network says of a picture: its answer, and what applies it to the photograph at its own size.
    struct Reply {
        var answer: Answer
        var tone: Tone?
        var maps: Maps?
    }

    private let model: MLModel

    /// Compiles the package and loads it.
    ///
    /// - Parameters:
    ///   - package: the .mlpackage, or an .mlmodelc that Xcode has compiled.
    ///   - key: names the compiled model in the cache; the weights' hash, so that a new model is never an old one.
    public init(package: URL, key: String, unit: ComputeUnit, caches: URL = .bncaganCaches) async throws {
        let configuration = MLModelConfiguration()
        configuration.computeUnits = unit.coreML
        let compiled = try await Self.compiled(package, key: key, caches: caches)
        model = try await MLModel.load(contentsOf: compiled, configuration: configuration)
    }

    /// Height and width of the pictures that it takes.
    public var size: (height: Int, width: Int) {
        let input = model.modelDescription.inputDescriptionsByName["image"]
        if let image = input?.imageConstraint { return (image.pixelsHigh, image.pixelsWide) }
        let shape = input?.multiArrayConstraint?.shape.map(\.intValue) ?? []
        return shape.count == 4 ? (shape[2], shape[3]) : (0, 0)
    }

    /// The answers to a batch of the self-test.
    public func answers(to batch: SelfTest.Batch) throws -> [Answer] {
        if takesImages || batch.pictures.count == 1 {
            return try zip(batch.pictures, batch.settings).map { try reply(to: $0, settings: $1).answer }
        }
        let result = try model.prediction(from: features(batch.pictures, batch.settings))
        guard let array = result.featureValue(for: "enhanced")?.multiArrayValue else { throw Self.unexpected }
        let values = floats(array)
        let each = values.count / batch.pictures.count
        return (0..<batch.pictures.count).map { .planes(Array(values[$0 * each..<($0 + 1) * each])) }
    }

    /// The reply to one picture of exactly `size`.
    func reply(to picture: Picture, settings: Settings) throws -> Reply {
        let result = try model.prediction(from: features([picture], [settings]))
        guard let enhanced = result.featureValue(for: "enhanced") else { throw Self.unexpected }
        let answer: Answer
        if let buffer = enhanced.imageBufferValue {
            answer = .codes(try buffer.picture().codes)
        } else if let array = enhanced.multiArrayValue {
            answer = .planes(floats(array))
        } else {
            throw Self.unexpected
        }
        var reply = Reply(answer: answer)
        if let tone = result.featureValue(for: "tone")?.multiArrayValue { reply.tone = try Tone(floats(tone)) }
        if let maps = result.featureValue(for: "maps")?.multiArrayValue {
            let shape = maps.shape.map(\.intValue)
            reply.maps = try Maps(height: shape[2], width: shape[3], values: floats(maps))
        }
        return reply
    }

    private var takesImages: Bool { model.modelDescription.inputDescriptionsByName["image"]?.imageConstraint != nil }

    private static let unexpected = Failure(
        "the package should have an input `image` and an output `enhanced` but has others; export it with bncagan")

    private func features(_ pictures: [Picture], _ settings: [Settings]) throws -> MLDictionaryFeatureProvider {
        var inputs: [String: MLFeatureValue] = [:]
        if takesImages {
            inputs["image"] = MLFeatureValue(pixelBuffer: try CVPixelBuffer.make(pictures[0]))
        } else {
            let shape = [pictures.count, 3, pictures[0].height, pictures[0].width]
            inputs["image"] = MLFeatureValue(multiArray: try array(shape, pictures.flatMap(\.planes)))
        }
        if model.modelDescription.inputDescriptionsByName["controls"] != nil {
            let rows = settings.flatMap { [$0.strength, $0.exposure] }
            inputs["controls"] = MLFeatureValue(multiArray: try array([settings.count, 2], rows))
        }
        return try MLDictionaryFeatureProvider(dictionary: inputs)
    }

    private func array(_ shape: [Int], _ values: [Float]) throws -> MLMultiArray {
        let array = try MLMultiArray(shape: shape.map(NSNumber.init), dataType: .float32)
        array.withUnsafeMutableBufferPointer(ofType: Float.self) { buffer, _ in _ = buffer.update(from: values) }
        return array
    }

    private func floats(_ array: MLMultiArray) -> [Float] {
        Array(MLShapedArray<Float>(converting: array).scalars)  // in order, whatever the strides are
    }

    private static func compiled(_ package: URL, key: String, caches: URL) async throws -> URL {
        if package.pathExtension == "mlmodelc" { return package }
        let kept = caches.appendingPathComponent("\(key).mlmodelc")
        if FileManager.default.fileExists(atPath: kept.path) { return kept }
        let made = try await MLModel.compileModel(at: package)
        try FileManager.default.createDirectory(at: caches, withIntermediateDirectories: true)
        do {
            try FileManager.default.moveItem(at: made, to: kept)
        } catch CocoaError.fileWriteFileExists {
            try? FileManager.default.removeItem(at: made)  // another thread was faster
        }
        return kept
    }
}

extension ComputeUnit {
    var coreML: MLComputeUnits {
        switch self {
        case .neuralEngine: .cpuAndNeuralEngine
        case .gpu: .cpuAndGPU
        case .cpu: .cpuOnly
        }
    }
}

extension URL {
    /// Where compiled models and verdicts are kept.
    public static var bncaganCaches: URL {
        FileManager.default.urls(for: .cachesDirectory, in: .userDomainMask)[0].appendingPathComponent("BNCAGAN")
    }
}
#endif
