#if canImport(CoreML) && canImport(CoreImage)
import BNCAGANCore
import CoreImage
import CoreML
import Foundation

/// Enhances photographs on the first compute unit that passes its self-test. Not run: needs Apple's frameworks.
///
///     let enhancer = try await Enhancer(package: package, selfTest: folder)
///     let result = try await enhancer.enhanced(photo, settings: Settings(strength: 0.8))
public actor Enhancer {
    /// The unit that runs, its verdict, and what was wrong with others.
    public nonisolated let choice: Choice
    private let network: Network
    private let applier: Applier
    private let context: CIContext
    private static let codes = CGColorSpace(name: CGColorSpace.sRGB)!

    /// Loads the model and tests it. The first launch takes seconds; call it before anybody waits.
    ///
    /// - Parameters:
    ///   - package: the .mlpackage of `bncagan export coreml`.
    ///   - selfTest: the folder of `bncagan verify PACKAGE --write-self-test`.
    ///   - background: avoid the GPU, which the system takes from applications in the background.
    public init(package: URL, selfTest: URL, background: Bool = false, caches: URL = .bncaganCaches) async throws {
        let test = try SelfTest(folder: selfTest)
        let weights = test.index.weightsSHA256
        let system = ProcessInfo.processInfo.operatingSystemVersionString
        let verdicts = Verdicts(file: caches.appendingPathComponent("verdicts.json"))
        choice = try await verdicts.firstPassing(
            ComputeUnit.candidates(background: background), key: "\(weights) \(test.index.precision) \(system)"
        ) { unit in
            let network = try await Network(package: package, key: weights, unit: unit, caches: caches)
            return try test.run(runtime: "Core ML, \(system)", device: unit.rawValue) { try network.answers(to: $0) }
        }
        network = try await Network(package: package, key: weights, unit: choice.unit, caches: caches)
        applier = try Applier()
        context = CIContext(options: [.workingColorSpace: Self.codes, .workingFormat: CIFormat.RGBAf])
        let size = network.size
        let codes = [UInt8](repeating: 0, count: size.height * size.width * 3)
        let black = try Picture(height: size.height, width: size.width, codes: codes)
        _ = try network.reply(to: black, settings: Settings())  // the first prediction is slow
    }

    /// The enhanced photograph, of the size of `photo`, in sRGB.
    ///
    /// Read the photograph with `CIImage(contentsOf: url, options: [.applyOrientationProperty: true])`. A package with
    /// tone and maps keeps every detail; of one with pictures alone the change is scaled up.
    public func enhanced(_ photo: CIImage, settings: Settings) throws -> CIImage {
        let photo = photo.transformed(by: CGAffineTransform(translationX: -photo.extent.minX, y: -photo.extent.minY))
        let small = try reduced(photo)
        let reply = try network.reply(to: small, settings: Settings())  // strength and exposure come after the maps
        if let tone = reply.tone {
            return try applier.applied(to: photo, tone: tone, maps: reply.maps, settings: settings)
        }
        let answer = try reply.answer.picture(height: small.height, width: small.width)
        let maps = try change(from: small, to: answer)
        return try applier.applied(to: photo, tone: .identity, maps: maps, settings: settings)
    }

    /// An image of the size of the network, as the codes that it takes.
    private func reduced(_ photo: CIImage) throws -> Picture {
        let (height, width) = network.size
        let down = CGFloat(height) / photo.extent.height
        let scaled = photo.clampedToExtent().applyingFilter(
            "CILanczosScaleTransform",
            parameters: ["inputScale": down, "inputAspectRatio": CGFloat(width) / photo.extent.width / down])
        let buffer = try CVPixelBuffer.make(height: height, width: width)
        let frame = CGRect(x: 0, y: 0, width: width, height: height)
        context.render(scaled, to: buffer, bounds: frame, colorSpace: Self.codes)
        return try buffer.picture()
    }

    /// The change as maps of one window for each pixel: no A, and b the difference.
    private func change(from small: Picture, to enhanced: Picture) throws -> Maps {
        let pixels = small.height * small.width
        var values = [Float](repeating: 0, count: 12 * pixels)
        for channel in 0..<3 {
            for pixel in 0..<pixels {
                let place = 3 * pixel + channel
                let difference = Int(enhanced.codes[place]) - Int(small.codes[place])
                values[(4 * channel + 3) * pixels + pixel] = Float(difference) / 255
            }
        }
        return try Maps(height: small.height, width: small.width, values: values)
    }
}
#endif
