// As much JSON as specs and self-tests need: reading a whole document, and quoting for a verdict.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "error.hpp"

namespace bncagan {

class Json {
 public:
  enum class Kind { null, boolean, number, string, array, object };

  // `what` names the document in errors.
  static Json parse(std::string_view text, const std::string& what) {
    Json value;
    size_t at = 0;
    if (!read(text, at, value, 0) || (space(text, at), at != text.size()))
      throw Error(what + " should be JSON but is not, at byte " + std::to_string(at) + "; write it again");
    value.what_ = what;
    return value;
  }

  bool is_null() const { return kind_ == Kind::null; }

  // The member of that name, or nullptr.
  const Json* find(std::string_view name) const {
    for (size_t i = 0; i < names_.size(); ++i)
      if (names_[i] == name) return &items_[i];
    return nullptr;
  }

  const Json& at(std::string_view name) const {
    if (const Json* found = find(name)) return *found;
    throw Error((what_.empty() ? "the JSON" : what_) + " should have a field " + std::string(name) +
                " but has none; write it again");
  }

  double number() const { return expect(Kind::number, "a number").number_; }
  int integer() const { return static_cast<int>(number()); }
  bool boolean() const { return expect(Kind::boolean, "true or false").number_ != 0; }
  const std::string& string() const { return expect(Kind::string, "a string").text_; }
  const std::vector<Json>& array() const { return expect(Kind::array, "a list").items_; }

  // The number, or nothing for null and for a missing value.
  static std::optional<double> maybe(const Json* value) {
    if (value == nullptr || value->is_null()) return std::nullopt;
    return value->number();
  }

 private:
  Kind kind_ = Kind::null;
  double number_ = 0;
  std::string text_, what_;
  std::vector<std::string> names_;
  std::vector<Json> items_;

  const Json& expect(Kind kind, const char* wanted) const {
    if (kind_ != kind) throw Error(std::string("a value should be ") + wanted + " but is not; write the JSON again");
    return *this;
  }

  static void space(std::string_view text, size_t& at) {
    while (at < text.size() && std::string_view(" \t\r\n").find(text[at]) != std::string_view::npos) ++at;
  }

  static bool take(std::string_view text, size_t& at, std::string_view word) {
    if (text.substr(at, word.size()) != word) return false;
    at += word.size();
    return true;
  }

  static bool read(std::string_view text, size_t& at, Json& value, int depth) {
    space(text, at);
    if (at == text.size() || depth > 64) return false;
    if (text[at] == '{' || text[at] == '[') return read_list(text, at, value, depth);
    if (text[at] == '"') {
      value.kind_ = Kind::string;
      return read_string(text, at, value.text_);
    }
    if (take(text, at, "null")) return true;
    const bool yes = take(text, at, "true");
    if (yes || take(text, at, "false")) {
      value.kind_ = Kind::boolean;
      value.number_ = yes;
      return true;
    }
    value.kind_ = Kind::number;
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), value.number_);
    at = static_cast<size_t>(end - text.data());
    return error == std::errc();
  }

  static bool read_list(std::string_view text, size_t& at, Json& value, int depth) {
    const bool object = text[at++] == '{';
    const std::string_view end = object ? "}" : "]";
    value.kind_ = object ? Kind::object : Kind::array;
    space(text, at);
    if (take(text, at, end)) return true;
    do {
      space(text, at);
      if (object) {
        value.names_.emplace_back();
        if (!read_string(text, at, value.names_.back())) return false;
        space(text, at);
        if (!take(text, at, ":")) return false;
      }
      value.items_.emplace_back();
      if (!read(text, at, value.items_.back(), depth + 1)) return false;
      space(text, at);
    } while (take(text, at, ","));
    return take(text, at, end);
  }

  static bool read_string(std::string_view text, size_t& at, std::string& out) {
    if (!take(text, at, "\"")) return false;
    while (at < text.size() && text[at] != '"') {
      if (text[at] != '\\') {
        out += text[at++];
        continue;
      }
      if (++at == text.size()) return false;
      const char escape = text[at++];
      const size_t plain = std::string_view("\"\\/bfnrt").find(escape);
      if (plain != std::string_view::npos) {
        out += "\"\\/\b\f\n\r\t"[plain];
      } else if (escape == 'u') {
        uint32_t code = 0, low = 0;
        if (!read_hex(text, at, code)) return false;
        if (code >= 0xD800 && code < 0xDC00) {
          if (!take(text, at, "\\u") || !read_hex(text, at, low)) return false;
          code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        append_utf8(out, code);
      } else {
        return false;
      }
    }
    return take(text, at, "\"");
  }

  static bool read_hex(std::string_view text, size_t& at, uint32_t& code) {
    if (at + 4 > text.size()) return false;
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + at + 4, code, 16);
    at += 4;
    return error == std::errc() && end == text.data() + at;
  }

  static void append_utf8(std::string& out, uint32_t code) {
    const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static constexpr int first[] = {0, 0xC0, 0xE0, 0xF0};
    out += static_cast<char>(first[more] | (code >> (6 * more)));
    for (int i = more - 1; i >= 0; --i) out += static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3F));
  }
};

// A string as JSON; UTF-8 stays as it is.
inline std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", c);
      out += escape;
    } else {
      out += c;
    }
  }
  return out + '"';
}

// A number as JSON with all its digits; null for none.
inline std::string written(std::optional<double> value) {
  if (!value || !std::isfinite(*value)) return "null";
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof digits, *value).ptr};
}

}  // namespace bncagan
