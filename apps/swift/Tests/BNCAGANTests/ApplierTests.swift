#if canImport(CoreImage)
import BNCAGANCore
import CoreImage
import XCTest

@testable import BNCAGAN

/// Not run: needs Apple's frameworks.
final class ApplierTests: XCTestCase {
    /// The kernel against the plain code, at every pixel of a small photograph.
    func testTheKernelAgreesWithThePlainCode() throws {
        let (height, width) = (9, 14)
        let photo = try Picture(
            height: height, width: width, codes: (0..<height * width * 3).map { UInt8(($0 * 37) % 256) })
        let tone = try Tone([0.02, 1.1, 0.3, -0.2, 0.1, 0.4, -0.3, 0.2, 0.3, 0.05, 0.2, 1.1, 1, 0.9, 0.8, 0])
        let maps = try Maps(height: 3, width: 4, values: (0..<144).map { Float($0 % 11 - 5) / 40 })
        let settings = try Settings(strength: 0.75, exposure: 0.5)
        let space = CGColorSpace(name: CGColorSpace.sRGB)!
        let context = CIContext(options: [.workingColorSpace: space, .workingFormat: CIFormat.RGBAf])
        let image = CIImage(cvPixelBuffer: try CVPixelBuffer.make(photo), options: [.colorSpace: space])
        let made = try Applier().applied(to: image, tone: tone, maps: maps, settings: settings)
        let buffer = try CVPixelBuffer.make(height: height, width: width)
        context.render(made, to: buffer, bounds: image.extent, colorSpace: space)
        let codes = try buffer.picture().codes
        for row in 0..<height {
            for column in 0..<width {
                let place = 3 * (row * width + column)
                let x = SIMD3((0..<3).map { Float(photo.codes[place + $0]) / 255 })
                let e = maps.applied(to: tone.applied(to: x), row: row, column: column, of: (height, width))
                for channel in 0..<3 {
                    let expected = code(of: settings.applied(image: x[channel], enhanced: e[channel]))
                    XCTAssertLessThanOrEqual(abs(Int(codes[place + channel]) - Int(expected)), 1, "\(row), \(column)")
                }
            }
        }
    }
}
#endif
