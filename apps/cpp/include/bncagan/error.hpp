// The one exception of this library. Its message says what was expected, what came, and what to do.
#pragma once

#include <stdexcept>
#include <string>

namespace bncagan {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace bncagan
