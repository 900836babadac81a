#if canImport(CoreVideo)
import BNCAGANCore
import CoreVideo

extension CVPixelBuffer {
    /// A BGRA buffer with the codes of a picture.
    static func make(_ picture: Picture) throws -> CVPixelBuffer {
        let buffer = try make(height: picture.height, width: picture.width)
        buffer.withRows { row, pixels in
            for column in 0..<picture.width {
                let place = 3 * (row * picture.width + column)
                pixels[4 * column] = picture.codes[place + 2]
                pixels[4 * column + 1] = picture.codes[place + 1]
                pixels[4 * column + 2] = picture.codes[place]
                pixels[4 * column + 3] = 255
            }
        }
        return buffer
    }

    /// An empty BGRA buffer.
    static func make(height: Int, width: Int) throws -> CVPixelBuffer {
        var made: CVPixelBuffer?
        let options = [kCVPixelBufferIOSurfacePropertiesKey: [String: Any]()] as CFDictionary
        CVPixelBufferCreate(nil, width, height, kCVPixelFormatType_32BGRA, options, &made)
        guard let made else {
            throw Failure("there should be memory for \(height) x \(width) pixels but is none; take a smaller picture")
        }
        return made
    }

    /// The codes of a BGRA buffer.
    func picture() throws -> Picture {
        let (height, width) = (CVPixelBufferGetHeight(self), CVPixelBufferGetWidth(self))
        var codes = [UInt8](repeating: 0, count: height * width * 3)
        withRows { row, pixels in
            for column in 0..<width {
                let place = 3 * (row * width + column)
                for channel in 0..<3 { codes[place + channel] = pixels[4 * column + 2 - channel] }
            }
        }
        return try Picture(height: height, width: width, codes: codes)
    }

    private func withRows(_ body: (Int, UnsafeMutablePointer<UInt8>) -> Void) {
        CVPixelBufferLockBaseAddress(self, [])
        defer { CVPixelBufferUnlockBaseAddress(self, []) }
        let start = CVPixelBufferGetBaseAddress(self)!.assumingMemoryBound(to: UInt8.self)
        for row in 0..<CVPixelBufferGetHeight(self) { body(row, start + row * CVPixelBufferGetBytesPerRow(self)) }
    }
}
#endif
