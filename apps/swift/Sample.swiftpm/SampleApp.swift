import BNCAGAN
import BNCAGANCore
import CoreImage
import PhotosUI
import SwiftUI

@main
struct SampleApp: App {
    var body: some Scene { WindowGroup { ContentView() } }
}

struct ContentView: View {
    @StateObject private var session = Session()
    @State private var item: PhotosPickerItem?
    @State private var strength: Float = 1
    @State private var exposure: Float = 0

    var body: some View {
        VStack(spacing: 16) {
            if let shown = session.shown {
                Image(decorative: shown, scale: 1).resizable().scaledToFit()
            } else {
                Spacer()
            }
            Text(session.status).font(.footnote).foregroundStyle(.secondary)
            LabeledContent("Strength") { Slider(value: $strength, in: 0...1.5) }
            LabeledContent("Exposure") { Slider(value: $exposure, in: -2...2) }
            PhotosPicker("Choose a photograph", selection: $item, matching: .images)
        }
        .padding()
        .task { await session.start() }
        .onChange(of: item) { chosen in Task { await session.open(chosen, strength, exposure) } }
        .onChange(of: strength) { value in Task { await session.show(value, exposure) } }
        .onChange(of: exposure) { value in Task { await session.show(strength, value) } }
    }
}

/// One enhancer, and the photograph that is open.
@MainActor
final class Session: ObservableObject {
    @Published var shown: CGImage?
    @Published var status = "Testing this device ..."
    private var enhancer: Enhancer?
    private var photo: CIImage?
    private let context = CIContext()

    func start() async {
        let resources = Bundle.module.resourceURL!.appendingPathComponent("Resources")
        do {
            let made = try await Enhancer(
                package: resources.appendingPathComponent("model.mlpackage"),
                selfTest: resources.appendingPathComponent("self-test"))
            status = "Self-test passed on \(made.choice.unit.rawValue). " + made.choice.demoted.joined(separator: " ")
            enhancer = made
        } catch {
            status = error.localizedDescription
        }
    }

    func open(_ item: PhotosPickerItem?, _ strength: Float, _ exposure: Float) async {
        guard let data = try? await item?.loadTransferable(type: Data.self) else { return }
        photo = CIImage(data: data, options: [.applyOrientationProperty: true])
        await show(strength, exposure)
    }

    func show(_ strength: Float, _ exposure: Float) async {
        guard let enhancer, let photo else { return }
        do {
            let settings = try Settings(strength: strength, exposure: exposure)
            let made = try await enhancer.enhanced(photo, settings: settings)
            shown = context.createCGImage(made, from: made.extent)
        } catch {
            status = error.localizedDescription
        }
    }
}
