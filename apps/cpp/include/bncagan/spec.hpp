// What an exported file says about itself, and which of its shapes to run for a photograph.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "json.hpp"

namespace bncagan {

using Shape = std::array<int, 3>;  // N, H, W

struct Spec {
  std::string io = "float32";  // or "uint8"
  std::string precision, input_name = "image", output_name = "enhanced";
  std::string output = "picture";  // or "maps", or "both"
  bool controls = false;
  int width = 0;  // of the network; 0 for a tone head alone
  int multiple = 8, minimum = 16;
  std::vector<Shape> fixed;                // the shapes, or
  Shape smallest{0, 0, 0}, largest{0, 0, 0};  // the bounds of a range

  bool floats() const { return io == "float32"; }
  bool picture() const { return output != "maps"; }
  bool maps() const { return output != "picture"; }

  static Spec parse(const std::string& text, const std::string& name) {
    if (text.empty())
      throw Error(name + " should carry a spec in its metadata but does not; export it with bncagan export onnx");
    const Json json = Json::parse(text, "the spec of " + name);
    Spec spec;
    spec.io = json.at("io").string();
    spec.precision = json.at("precision").string();
    const auto take = [&](const char* field, std::string& value) {
      if (const Json* found = json.find(field)) value = found->string();
    };
    take("input_name", spec.input_name);
    take("output_name", spec.output_name);
    take("output", spec.output);
    if (const Json* found = json.find("controls")) spec.controls = found->boolean();
    spec.width = json.at("width").integer();
    if (const Json* found = json.find("multiple")) spec.multiple = found->integer();
    if (const Json* found = json.find("minimum")) spec.minimum = found->integer();
    const Json& shapes = json.at("shapes");
    if (const Json* list = shapes.find("fixed")) {
      for (const Json& one : list->array()) spec.fixed.push_back(shape(one));
    } else {
      spec.smallest = shape(shapes.at("minimum"));
      spec.largest = shape(shapes.at("maximum"));
    }
    if (spec.io != "float32" && spec.io != "uint8")
      throw Error(name + " should take float32 or uint8 but takes " + spec.io + "; use a newer bncagan.hpp");
    return spec;
  }

  bool accepts(const Shape& asked) const {
    if (!fixed.empty()) return std::find(fixed.begin(), fixed.end(), asked) != fixed.end();
    for (size_t i = 0; i < 3; ++i)
      if (asked[i] < smallest[i] || asked[i] > largest[i]) return false;
    return asked[1] % multiple == 0 && asked[2] % multiple == 0;
  }

 private:
  static Shape shape(const Json& list) {
    if (list.array().size() != 3) throw Error("a shape should have three numbers but has not; export the model again");
    return {list.array()[0].integer(), list.array()[1].integer(), list.array()[2].integer()};
  }
};

// The shape to run. exact: pad the photograph by reflection, and crop the answer; otherwise resample it.
struct Fit {
  Shape shape;
  bool exact;
};

// The choice of runtimes/shape_choice.py. max_side: px; longer photographs are resampled where the file takes a range.
inline Fit fit(const Spec& spec, int height, int width, int max_side) {
  const auto up = [&](int side) { return (side + spec.multiple - 1) / spec.multiple * spec.multiple; };
  const int longest = std::max(height, width);
  if (spec.fixed.empty()) {
    const Shape exact{spec.smallest[0], std::max(up(height), spec.smallest[1]), std::max(up(width), spec.smallest[2])};
    if (longest <= max_side && spec.accepts(exact)) return {exact, true};
    double scale = std::min(1.0, static_cast<double>(max_side) / longest);
    scale = std::min({scale, double(spec.largest[1]) / height, double(spec.largest[2]) / width});
    const auto side = [&](int of, size_t axis) {
      const int rounded = spec.multiple * static_cast<int>(std::nearbyint(of * scale / spec.multiple));
      return std::clamp(rounded, spec.smallest[axis], spec.largest[axis]);
    };
    return {{spec.smallest[0], side(height, 1), side(width, 2)}, false};
  }
  std::vector<Shape> shapes = spec.fixed;
  std::sort(shapes.begin(), shapes.end());  // the smallest batch first
  const int h = std::max(up(height), spec.minimum), w = std::max(up(width), spec.minimum);
  for (const Shape& shape : shapes)
    if (shape[1] == h && shape[2] == w) return {shape, true};
  const double scale = std::min(1.0, static_cast<double>(max_side) / longest);
  double least = std::numeric_limits<double>::infinity();
  Fit nearest{shapes.front(), false};
  for (const Shape& shape : shapes) {
    const double aspect = std::log(double(shape[2]) / shape[1]) - std::log(double(width) / height);
    const double size = std::log(double(shape[1]) * shape[2]) - std::log(height * (width * scale) * scale);
    const double distance = std::abs(aspect) + 0.25 * std::abs(size);
    if (distance < least) least = distance, nearest.shape = shape;
  }
  return nearest;
}

}  // namespace bncagan
