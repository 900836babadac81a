// What the network changes, applied to a photograph of any size; then strength and exposure.
//
//   t = T(x; tone)                          the curve of the tone head
//   e = clamp(t + A t + b, 0, 1)            the maps (A | b), interpolated between the centres of their windows
//   y = expose(x + strength (e - x))        linear light times 2^exposure, by the curve of sRGB
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "picture.hpp"
#include "session.hpp"

namespace bncagan {

struct Controls {
  float strength = 1;  // share of the change, 0 to 1.5
  float exposure = 0;  // stops, -2 to 2

  bool plain() const { return strength == 1 && exposure == 0; }
};

using Colour = std::array<float, 3>;

// The picture's value and the network's answer to it, under the controls.
inline float adjusted(float x, float enhanced, const Controls& controls) {
  const double y = std::max(0.0, double{controls.strength} * enhanced + (1 - double{controls.strength}) * x);
  if (controls.exposure == 0) return static_cast<float>(std::min(y, 1.0));
  const double light = std::exp2(controls.exposure) * (y > 0.04045 ? std::pow((y + 0.055) / 1.055, 2.4) : y / 12.92);
  const double code = light > 0.04045 / 12.92 ? 1.055 * std::pow(light, 1 / 2.4) - 0.055 : 12.92 * light;
  return static_cast<float>(std::clamp(code, 0.0, 1.0));
}

// The curve; `tone` has 16 numbers, see docs/applying.md.
inline Colour toned(const Colour& x, const float* tone) {
  Colour v;
  for (size_t c = 0; c < 3; ++c) {
    float value = std::clamp((x[c] - tone[0]) * tone[1], 0.0f, 1.0f);
    for (int step = 2; step < 8; ++step) value += tone[step] * value * (1 - value);
    value += tone[8] * value * (1 - value) * (2 * value - 1);
    v[c] = value + tone[9] * (1 - value);
  }
  const float luma = 0.299f * v[0] + 0.587f * v[1] + 0.114f * v[2];
  Colour t;
  for (size_t c = 0; c < 3; ++c) {
    const float coloured = std::clamp((v[c] + tone[10] * (v[c] - luma)) * tone[11 + c], 0.0f, 1.0f);
    t[c] = x[c] + tone[14] * (coloured - x[c]);
  }
  return t;
}

// Where a pixel lies between the centres of two windows.
struct Between {
  int first, second;
  float share;  // of the second

  Between(int at, int size, int windows) {
    const double position = std::clamp((at + 0.5) * windows / size - 0.5, 0.0, double(windows - 1));
    first = static_cast<int>(position);
    second = std::min(first + 1, windows - 1);
    share = static_cast<float>(position - first);
  }
};

// What the network tells of a batch: `tone`, N x 16, and `maps`, N x 12 x h x w, which is empty without a generator.
struct Change {
  Tensor<float> tone, maps;

  // Whether the numbers of one picture hold no NaN and no infinity.
  bool finite(size_t n) const {
    for (const Tensor<float>* tensor : {&tone, &maps}) {
      const size_t size = tensor->values.size() / static_cast<size_t>(tone.shape[0]);
      for (size_t i = n * size; i < (n + 1) * size; ++i)
        if (!std::isfinite(tensor->values[i])) return false;
    }
    return true;
  }
};

// Apply the change of the n-th picture of a batch to a picture of any size.
inline Picture applied(const Picture& picture, const Change& change, size_t n, const Controls& controls) {
  const bool local = !change.maps.values.empty();
  const int h = local ? static_cast<int>(change.maps.shape[2]) : 1;
  const int w = local ? static_cast<int>(change.maps.shape[3]) : 1;
  const float* tone = change.tone.values.data() + 16 * n;
  const float* maps = change.maps.values.data() + size_t{12} * h * w * n;
  std::vector<Between> across;
  for (int x = 0; x < picture.width; ++x) across.emplace_back(x, picture.width, w);
  std::vector<float> row(size_t{12} * w);  // the maps between two rows of windows
  Picture result(picture.height, picture.width);
  for (int y = 0; y < picture.height; ++y) {
    const Between down(y, picture.height, h);
    for (int k = 0; local && k < 12; ++k)
      for (int x = 0; x < w; ++x) {
        const float above = maps[(size_t(k) * h + down.first) * w + x];
        row[size_t(k) * w + x] = above + down.share * (maps[(size_t(k) * h + down.second) * w + x] - above);
      }
    for (int x = 0; x < picture.width; ++x) {
      const uint8_t* codes = picture.pixel(y, x);
      const Colour seen{codes[0] / 255.0f, codes[1] / 255.0f, codes[2] / 255.0f};
      const Colour t = toned(seen, tone);
      const auto map = [&](size_t k) {
        const float left = row[k * w + across[x].first];
        return left + across[x].share * (row[k * w + across[x].second] - left);
      };
      for (size_t c = 0; c < 3; ++c) {
        float e = t[c];
        if (local) e += map(4 * c) * t[0] + map(4 * c + 1) * t[1] + map(4 * c + 2) * t[2] + map(4 * c + 3);
        result.pixel(y, x)[c] = to_code(adjusted(seen[c], std::clamp(e, 0.0f, 1.0f), controls));
      }
    }
  }
  return result;
}

}  // namespace bncagan
