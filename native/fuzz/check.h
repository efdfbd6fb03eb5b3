// What a fuzz target claims.
#pragma once

#include <cstdio>
#include <cstdlib>

// Ends the program, which libFuzzer reports with the input that led here.
#define FUZZ_CHECK(condition)                                                                   \
  do {                                                                                          \
    if (!(condition)) {                                                                         \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);            \
      abort();                                                                                  \
    }                                                                                           \
  } while (false)
