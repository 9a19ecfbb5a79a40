// Tables from pixels to panels. What they mean: panels.hpp.
#include "panels.hpp"

#include <string>
#include <utility>

#include "error.hpp"

namespace midas {

namespace {

constexpr std::int64_t LARGEST_EDGE = std::int64_t{1} << 20;  // px

std::vector<std::int32_t> table_of(const std::vector<Span>& spans, const char* what) {
  if (spans.empty()) throw InputError(std::string("the panel layout has no ") + what + "; expected at least one");
  for (std::size_t k = 0; k < spans.size(); ++k) {
    const bool ascends = spans[k].last >= spans[k].first && (k == 0 || spans[k].first > spans[k - 1].last);
    if (!ascends) {
      throw InputError(std::string("the panel ") + what + " must ascend without overlap; one spans pixels " +
                       std::to_string(spans[k].first) + " to " + std::to_string(spans[k].last));
    }
  }
  const std::int64_t length = spans.back().last - spans.front().first + 1;
  if (length > LARGEST_EDGE) {
    throw InputError(std::string("the panel ") + what + " span " + std::to_string(length) +
                     " pixels; expected at most 2^20");
  }
  std::vector<std::int32_t> table(static_cast<std::size_t>(length));
  std::size_t k = 0;
  for (std::int64_t i = 0; i < length; ++i) {
    const std::int64_t pixel = spans.front().first + i;
    // A pixel in a gap goes to the nearer panel, in the middle of one to the second.
    while (k + 1 < spans.size() && spans[k + 1].first - pixel <= pixel - spans[k].last) ++k;
    table[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(k);
  }
  return table;
}

}  // namespace

PanelLayout::PanelLayout(std::vector<Span> columns, std::vector<Span> rows)
    : columns_(std::move(columns)),
      rows_(std::move(rows)),
      column_table_(table_of(columns_, "columns")),
      row_table_(table_of(rows_, "rows")) {}

}  // namespace midas
