// The core's unit tests: `make -C native coretest`, then build/native/coretest (--help tells how to choose among them).
// Each NAME_test.cc here includes <doctest/doctest.h> and "core/NAME.h"; names of test cases are distinct over all files.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
