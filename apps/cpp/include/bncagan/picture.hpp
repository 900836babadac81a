// 8-bit RGB pictures: PPM files, PNG files where libpng is there (BNCAGAN_PNG), padding and resampling.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#ifdef BNCAGAN_PNG
#include <png.h>
#endif

#include "error.hpp"

namespace bncagan {

struct Picture {
  int height = 0, width = 0;
  std::vector<uint8_t> rgb;  // height x width x 3, row by row, red first

  Picture() = default;
  Picture(int height, int width) : height(height), width(width), rgb(size_t{3} * height * width) {}
  const uint8_t* pixel(int y, int x) const { return &rgb[3 * (static_cast<size_t>(y) * width + x)]; }
  uint8_t* pixel(int y, int x) { return &rgb[3 * (static_cast<size_t>(y) * width + x)]; }
};

// floor(255 y + 0.5) of a value, which is clamped to [0, 1]; NaN and infinity count as 0.
inline uint8_t to_code(float y) {
  return std::isfinite(y) ? static_cast<uint8_t>(std::floor(255.0f * std::clamp(y, 0.0f, 1.0f) + 0.5f)) : 0;
}

inline std::vector<uint8_t> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(path.string() + " should be a file that can be read but is not; check the path");
  return {std::istreambuf_iterator<char>(file), {}};
}

// Write to a temporary name beside `path` and rename, so that no half file is left.
inline void write_file(const std::filesystem::path& path, const std::vector<uint8_t>& data) {
  const std::filesystem::path partial = path.string() + ".partial";
  std::ofstream file(partial, std::ios::binary);
  file.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(partial, path, error);
  if (!file || error) {
    std::filesystem::remove(partial, error);
    throw Error(path.string() + " should be a file that can be written but is not; check the folder and its space");
  }
}

// Binary PPM (P6) of 8 bits: "P6 width height 255" with comments, one white space, the pixels.
inline Picture decode_ppm(const std::vector<uint8_t>& data, const std::string& name) {
  size_t at = 2;
  int numbers[3] = {0, 0, 0};
  for (int& number : numbers) {
    while (at < data.size() && (std::isspace(data[at]) || data[at] == '#'))
      if (data[at++] == '#')
        while (at < data.size() && data[at] != '\n') ++at;
    while (at < data.size() && std::isdigit(data[at]) && number < 100000) number = 10 * number + (data[at++] - '0');
  }
  ++at;
  const auto [width, height, largest] = numbers;
  const size_t bytes = size_t{3} * static_cast<size_t>(width) * static_cast<size_t>(height);
  if (largest != 255 || bytes == 0 || at > data.size() || data.size() - at < bytes)
    throw Error(name + " should be a whole PPM file of 8 bits but is not; write it again");
  Picture picture(height, width);
  std::memcpy(picture.rgb.data(), &data[at], bytes);
  return picture;
}

#ifdef BNCAGAN_PNG
// Transparent pixels come over black; grey and palettes become RGB, 16 bits become 8.
inline Picture decode_png(const std::vector<uint8_t>& data, const std::string& name) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  if (png_image_begin_read_from_memory(&image, data.data(), data.size())) {
    image.format = PNG_FORMAT_RGB;
    Picture picture(static_cast<int>(image.height), static_cast<int>(image.width));
    const png_color black{};
    if (png_image_finish_read(&image, &black, picture.rgb.data(), 0, nullptr)) return picture;
  }
  const std::string reason = image.message;
  png_image_free(&image);
  throw Error(name + " should be a PNG file but cannot be read (" + reason + "); write it again");
}

inline std::vector<uint8_t> encode_png(const Picture& picture) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.format = PNG_FORMAT_RGB;
  image.width = static_cast<png_uint_32>(picture.width);
  image.height = static_cast<png_uint_32>(picture.height);
  png_alloc_size_t size = 0;
  png_image_write_to_memory(&image, nullptr, &size, 0, picture.rgb.data(), 0, nullptr);
  std::vector<uint8_t> data(size);
  if (!png_image_write_to_memory(&image, data.data(), &size, 0, picture.rgb.data(), 0, nullptr))
    throw Error(std::string("the picture should become a PNG file but does not (") + image.message + "); free memory");
  data.resize(size);
  return data;
}
#endif

inline Picture read_picture(const std::filesystem::path& path) {
  const std::vector<uint8_t> data = read_file(path);
  if (data.size() > 2 && data[0] == 'P' && data[1] == '6') return decode_ppm(data, path.string());
#ifdef BNCAGAN_PNG
  return decode_png(data, path.string());
#else
  throw Error(path.string() + " should be a PPM file, as this program was built without libpng, but is not; convert it");
#endif
}

// PNG if the name ends in .png, otherwise PPM.
inline void write_picture(const std::filesystem::path& path, const Picture& picture) {
  if (path.extension() == ".png") {
#ifdef BNCAGAN_PNG
    return write_file(path, encode_png(picture));
#else
    throw Error(path.string() + " should end in .ppm, as this program was built without libpng; choose another name");
#endif
  }
  const std::string head = "P6\n" + std::to_string(picture.width) + " " + std::to_string(picture.height) + "\n255\n";
  std::vector<uint8_t> data(head.begin(), head.end());
  data.insert(data.end(), picture.rgb.begin(), picture.rgb.end());
  write_file(path, data);
}

// Padded by reflection at the bottom and at the right, without repeating the edge.
inline Picture padded(const Picture& picture, int height, int width) {
  const auto reflected = [](int at, int size) {
    const int period = std::max(1, 2 * (size - 1));
    return std::min(at % period, period - at % period);
  };
  Picture larger(height, width);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      std::memcpy(larger.pixel(y, x), picture.pixel(reflected(y, picture.height), reflected(x, picture.width)), 3);
  return larger;
}

inline Picture cropped(const Picture& picture, int height, int width) {
  Picture smaller(height, width);
  for (int y = 0; y < height; ++y) std::memcpy(smaller.pixel(y, 0), picture.pixel(y, 0), size_t{3} * width);
  return smaller;
}

// The means of boxes of down x across px; those at the right and at the bottom may be smaller. Means are rounded as
// Pillow's reduce() does, which multiplies by a rounded reciprocal.
inline Picture boxed(const Picture& picture, int down, int across) {
  Picture small((picture.height + down - 1) / down, (picture.width + across - 1) / across);
  for (int y = 0; y < small.height; ++y)
    for (int x = 0; x < small.width; ++x) {
      const int bottom = std::min(picture.height, (y + 1) * down), right = std::min(picture.width, (x + 1) * across);
      const uint32_t count = static_cast<uint32_t>((bottom - y * down) * (right - x * across));
      const uint32_t reciprocal = static_cast<uint32_t>(16777216.0f / static_cast<float>(count));
      for (int c = 0; c < 3; ++c) {
        uint32_t sum = count / 2;
        for (int j = y * down; j < bottom; ++j)
          for (int i = x * across; i < right; ++i) sum += picture.pixel(j, i)[c];
        small.pixel(y, x)[c] = static_cast<uint8_t>((sum * reciprocal) >> 24);
      }
    }
  return small;
}

// The weights by which a new pixel is made of old ones.
struct Window {
  int first;
  std::vector<float> weights;
};

// Lanczos with three lobes, widened where the picture shrinks. extent: what of `size` pixels becomes new ones.
inline std::vector<Window> lanczos(int size, double extent, int new_size) {
  const double scale = extent / new_size, wide = std::max(1.0, scale), pi = 3.14159265358979323846;
  const auto sinc = [&](double x) { return x == 0 ? 1.0 : std::sin(pi * x) / (pi * x); };
  std::vector<Window> windows;
  for (int i = 0; i < new_size; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(centre - 3 * wide + 0.5));
    const int last = std::min(size, static_cast<int>(centre + 3 * wide + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int j = first; j < last; ++j) {
      const double x = (j - centre + 0.5) / wide;
      weights.push_back(std::abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0);
      sum += weights.back();
    }
    Window window{first, {}};
    for (const double weight : weights) window.weights.push_back(static_cast<float>(weight / sum));
    windows.push_back(window);
  }
  return windows;
}

// As Pillow's resize(..., LANCZOS, reducing_gap=3), which takes means of boxes first where the picture shrinks a lot.
inline Picture resized(const Picture& full, int height, int width) {
  const int boxes_down = std::max(1, static_cast<int>(double(full.height) / height / 3));
  const int boxes_across = std::max(1, static_cast<int>(double(full.width) / width / 3));
  const Picture boxes = boxes_down * boxes_across > 1 ? boxed(full, boxes_down, boxes_across) : Picture();
  const Picture& picture = boxes.rgb.empty() ? full : boxes;
  const std::vector<Window> across = lanczos(picture.width, double(full.width) / boxes_across, width);
  const std::vector<Window> down = lanczos(picture.height, double(full.height) / boxes_down, height);
  const auto code = [](float value) { return static_cast<uint8_t>(std::clamp(value + 0.5f, 0.0f, 255.0f)); };
  Picture narrow(picture.height, width), small(height, width);
  for (int y = 0; y < picture.height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) {
        float sum = 0;
        for (size_t i = 0; i < across[x].weights.size(); ++i)
          sum += across[x].weights[i] * picture.pixel(y, across[x].first + static_cast<int>(i))[c];
        narrow.pixel(y, x)[c] = code(sum);
      }
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) {
        float sum = 0;
        for (size_t i = 0; i < down[y].weights.size(); ++i)
          sum += down[y].weights[i] * narrow.pixel(down[y].first + static_cast<int>(i), x)[c];
        small.pixel(y, x)[c] = code(sum);
      }
  return small;
}

}  // namespace bncagan
