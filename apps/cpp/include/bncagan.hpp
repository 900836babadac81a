// BNCAGAN in C++17 on ONNX Runtime: enhance a photograph, and find out whether this device draws the right pictures.
//
//   bncagan::Enhancer enhancer("small-fp32.onnx");
//   if (!bncagan::self_test(enhancer, "small-fp32").passed) return 1;
//   bncagan::Picture enhanced = enhancer.enhance(bncagan::read_picture("photo.ppm"), {0.8f, 0.5f});
//
// Every error is a bncagan::Error. One thread at a time may use an Enhancer.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <type_traits>
#include <vector>

#include "bncagan/applying.hpp"
#include "bncagan/picture.hpp"
#include "bncagan/session.hpp"
#include "bncagan/spec.hpp"

namespace bncagan {

class Enhancer {
 public:
  // model: a file of `bncagan export onnx`. threads: CPU threads; 0 lets ONNX Runtime choose.
  explicit Enhancer(const std::filesystem::path& model, int threads = 0)
      : session_(model, threads), name_(model.string()), spec_(Spec::parse(session_.metadata("bncagan"), name_)) {}

  const Spec& spec() const { return spec_; }
  static std::string runtime() { return Session::version(); }
  static const char* device() { return "CPUExecutionProvider"; }

  // Enhance a photograph of at least 8 x 8 px.
  //
  // If the file has its size, rounded up, the photograph is padded and gets the network's own answer. Otherwise the
  // network sees a resampled copy. The change is then applied to every pixel of the photograph if the file tells it
  // (--output maps or both); if it does not, the result has the network's size.
  Picture enhance(const Picture& picture, Controls controls = {}, int max_side = 1024) const {
    if (!(controls.strength >= 0 && controls.strength <= 1.5f && controls.exposure >= -2 && controls.exposure <= 2))
      throw Error("strength should be from 0 to 1.5 and exposure from -2 to 2 but are not; choose others");
    if (std::min(picture.height, picture.width) < spec_.multiple)
      throw Error("the photograph should have sides of at least " + std::to_string(spec_.multiple) + " px but is " +
                  std::to_string(picture.width) + "x" + std::to_string(picture.height) + "; take a larger one");
    const Fit plan = fit(spec_, picture.height, picture.width, max_side);
    const auto [batch, height, width] = plan.shape;
    const Picture seen = plan.exact ? padded(picture, height, width) : resized(picture, height, width);
    const std::vector<Picture> pictures(static_cast<size_t>(batch), seen);
    if (!spec_.picture() || (!plan.exact && spec_.maps())) {
      const Change told = change(pictures);
      if (!told.finite(0)) not_finite();
      return applied(picture, told, 0, controls);
    }
    const Answer answer = answers(pictures, std::vector<Controls>(pictures.size(), controls)).front();
    if (!answer.finite) not_finite();
    return plan.exact ? cropped(answer.picture, picture.height, picture.width) : answer.picture;
  }

  // An answer of the network; where it has NaN and infinity, the picture has 0.
  struct Answer {
    Picture picture;
    bool finite;
  };

  // The network's answers to a batch of pictures, whose shape has to be one of the file's.
  std::vector<Answer> answers(const std::vector<Picture>& pictures, const std::vector<Controls>& controls) const {
    if (spec_.picture())
      return spec_.floats() ? drawn<float>(pictures, controls) : drawn<uint8_t>(pictures, controls);
    const Change told = change(pictures);
    std::vector<Answer> answers;
    for (size_t n = 0; n < pictures.size(); ++n)
      answers.push_back({applied(pictures[n], told, n, controls[n]), told.finite(n)});
    return answers;
  }

  // What the network changes in each picture of a batch, for files that tell it.
  Change change(const std::vector<Picture>& pictures) const {
    std::vector<const char*> names{"tone"};
    if (spec_.width > 0) names.push_back("maps");  // a tone head alone has none
    const std::vector<Session::Value> outputs =
        spec_.floats() ? run<float>(pictures, {}, names) : run<uint8_t>(pictures, {}, names);
    Change told{session_.output<float>(outputs[0]), Tensor<float>()};
    if (outputs.size() > 1) told.maps = session_.output<float>(outputs[1]);
    return told;
  }

 private:
  Session session_;
  std::string name_;
  Spec spec_;

  [[noreturn]] void not_finite() const {
    throw Error(name_ + " should return finite numbers but returned NaN or infinity; run its self-test");
  }

  // Where the batch holds a channel of a pixel: N x 3 x H x W for float, N x H x W x 3 for bytes.
  template <class T>
  static size_t place(size_t n, size_t pixel, size_t c, size_t pixels) {
    return std::is_same_v<T, float> ? (3 * n + c) * pixels + pixel : 3 * (n * pixels + pixel) + c;
  }

  template <class T>
  static Tensor<T> batch_of(const std::vector<Picture>& pictures) {
    const int64_t count = static_cast<int64_t>(pictures.size()), height = pictures[0].height, width = pictures[0].width;
    Tensor<T> batch(std::is_same_v<T, float> ? std::vector<int64_t>{count, 3, height, width}
                                             : std::vector<int64_t>{count, height, width, 3});
    const size_t pixels = pictures[0].rgb.size() / 3;
    for (size_t n = 0; n < pictures.size(); ++n)
      for (size_t i = 0; i < pixels; ++i)
        for (size_t c = 0; c < 3; ++c)
          batch.values[place<T>(n, i, c, pixels)] = static_cast<T>(pictures[n].rgb[3 * i + c] / one<T>());
    return batch;
  }

  // What a code of 255 is in the graph's numbers, divided into 255.
  template <class T>
  static constexpr auto one() {
    if constexpr (std::is_same_v<T, float>)
      return 255.0f;
    else
      return 1;
  }

  template <class T>
  std::vector<Session::Value> run(const std::vector<Picture>& pictures, const std::vector<Controls>& controls,
                                  const std::vector<const char*>& outputs) const {
    Tensor<T> batch = batch_of<T>(pictures);
    std::vector<const char*> names{spec_.input_name.c_str()};
    std::vector<Session::Value> inputs;
    inputs.push_back(session_.input(batch));
    Tensor<float> rows({static_cast<int64_t>(pictures.size()), 2});
    if (spec_.controls) {
      for (size_t n = 0; n < pictures.size(); ++n) {
        const Controls row = controls.empty() ? Controls{} : controls[n];
        rows.values[2 * n] = row.strength;
        rows.values[2 * n + 1] = row.exposure;
      }
      names.push_back("controls");
      inputs.push_back(session_.input(rows));
    }
    return session_.run(names, inputs, outputs);
  }

  // The controls are applied by the graph if it has that input, and otherwise here.
  template <class T>
  std::vector<Answer> drawn(const std::vector<Picture>& pictures, const std::vector<Controls>& controls) const {
    const Tensor<T> answer = session_.output<T>(run<T>(pictures, controls, {spec_.output_name.c_str()})[0]);
    if (answer.shape != batch_of<T>(pictures).shape)
      throw Error(name_ + " should return pictures of the shape that it is given but does not; export it again");
    const size_t pixels = pictures[0].rgb.size() / 3;
    std::vector<Answer> answers;
    for (size_t n = 0; n < pictures.size(); ++n) {
      answers.push_back({Picture(pictures[n].height, pictures[n].width), true});
      for (size_t i = 0; i < pixels; ++i)
        for (size_t c = 0; c < 3; ++c) {
          float value = static_cast<float>(answer.values[place<T>(n, i, c, pixels)]);
          if (!std::isfinite(value)) answers.back().finite = false;
          if (!std::is_same_v<T, float>) value /= 255.0f;
          if (!spec_.controls && !controls[n].plain())
            value = adjusted(pictures[n].rgb[3 * i + c] / 255.0f, std::clamp(value, 0.0f, 1.0f), controls[n]);
          answers.back().picture.rgb[3 * i + c] = to_code(value);
        }
    }
    return answers;
  }
};

}  // namespace bncagan

#include "bncagan/self_test.hpp"
