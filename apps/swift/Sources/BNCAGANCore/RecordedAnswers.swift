import Foundation

/// Answers that another program has written, so that the self-test can judge any runtime: those to batch 0 in `0.f32`
/// (float32, little-endian, N x 3 x H x W) or `0.u8` (codes, N x H x W x 3), those to batch 1 in `1.f32`, and so on.
public struct RecordedAnswers: Sendable {
    private let folder: URL

    public init(folder: URL) { self.folder = folder }

    /// The answers to one batch.
    public func answers(to batch: SelfTest.Batch, io: String) throws -> [Answer] {
        let file = folder.appendingPathComponent("\(batch.number).\(io == "uint8" ? "u8" : "f32")")
        guard let data = try? Data(contentsOf: file) else {
            throw Failure("\(file.path) should hold the answers to batch \(batch.number) but cannot be read; write it")
        }
        let values = io == "uint8" ? data.count : data.count / 4
        let each = values / batch.pictures.count
        let wanted = batch.pictures[0].codes.count
        guard each == wanted, data.count == batch.pictures.count * wanted * (io == "uint8" ? 1 : 4) else {
            throw Failure(
                "\(file.path) should hold \(batch.pictures.count) x \(wanted) values but has \(data.count) bytes; "
                    + "write it again")
        }
        return (0..<batch.pictures.count).map { row in
            let range = row * each..<(row + 1) * each
            if io == "uint8" { return .codes([UInt8](data[range])) }
            return data.withUnsafeBytes { bytes in
                .planes(
                    range.map { place in
                        let word = bytes.loadUnaligned(fromByteOffset: 4 * place, as: UInt32.self)
                        return Float(bitPattern: UInt32(littleEndian: word))
                    })
            }
        }
    }
}
