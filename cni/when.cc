#include "when.h"

#include <time.h>

namespace loden::cni {
namespace {

void PutPadded(Text* out, int64_t number) {
  if (number < 10) out->Put('0');
  out->Number(number);
}

}  // namespace

void PutWhen(Text* out, int64_t seconds) {
  // Days to a date of the Gregorian calendar: libc's own way reads the machine's time zone first. March begins the year, so
  // that the day that is there or not is its last.
  const int64_t day = seconds >= 0 ? seconds / 86400 : 0;
  const int64_t second = seconds >= 0 ? seconds % 86400 : 0;
  const int64_t shifted = day + 719468;  // since 0000-03-01
  const int64_t era = shifted / 146097, of_era = shifted % 146097;
  const int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  const int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
  const int64_t month = (5 * of_year + 2) / 153;
  out->Number(era * 400 + year + (month >= 10 ? 1 : 0)).Put('-');
  PutPadded(out, month < 10 ? month + 3 : month - 9);
  out->Put('-');
  PutPadded(out, of_year - (153 * month + 2) / 5 + 1);
  out->Put('T');
  PutPadded(out, second / 3600);
  out->Put(':');
  PutPadded(out, second / 60 % 60);
  out->Put(':');
  PutPadded(out, second % 60);
  out->Put('Z');

  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const int64_t ago = int64_t{now.tv_sec} - seconds;
  if (ago < 0) return;
  out->Put(" (");
  if (ago < 120) {
    out->Number(ago).Put(" s ago)");
  } else if (ago < 2 * 3600) {
    out->Number(ago / 60).Put(" min ago)");
  } else if (ago < 2 * 86400) {
    out->Number(ago / 3600).Put(" h ago)");
  } else {
    out->Number(ago / 86400).Put(" days ago)");
  }
}

}  // namespace loden::cni
