// The core's unit tests: `make -C native coretest`, then build/native/coretest (--help tells how to choose among
// them). Each NAME_test.cc here includes <doctest/doctest.h> and "core/NAME.h"; names of test cases are distinct over
// all files. npm test runs them under sanitizers (test/unit/native-core.test.ts): a signal is theirs to explain.
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <ostream>

// Beside the usual text, lines by which another program tells what belongs to which test case:
// --reporters=marks,console.
struct Marks : doctest::IReporter {
  explicit Marks(const doctest::ContextOptions& options) : out_(*options.cout) {}

  void report_query(const doctest::QueryData& query) override {
    for (unsigned i = 0; i < query.num_data; i++) {
      out_ << "@case " << query.data[i]->m_skip << ' ' << query.data[i]->m_name << '\n';
    }
  }
  void test_case_start(const doctest::TestCaseData& test) override { out_ << "@start " << test.m_name << std::endl; }
  void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
    out_ << "@end " << stats.testCaseSuccess << ' ' << stats.numAssertsCurrentTest << std::endl;
  }

  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}

 private:
  std::ostream& out_;
};

// Before the console's own: its text follows the mark.
REGISTER_REPORTER("marks", -1, Marks);
