#include "call.h"

#include <string.h>

#include "contract.h"
#include "env.h"
#include "json.h"
#include "json_string.h"
#include "output.h"
#include "names.h"
#include "queue.h"

namespace loden::cni {
namespace {

// Is it one value of JSON?
bool IsJson(std::string_view text) {
  JsonReader json(text);
  return json.Skip() && json.AtEnd();
}

// An object; or null, which the daemon takes for an empty one.
bool IsConfig(std::string_view text) {
  JsonReader json(text);
  const char first = json.Peek();
  return (first == '{' || first == 'n') && json.Skip() && json.AtEnd();
}

// Is it an error object of the specification?
bool IsError(std::string_view text) {
  JsonReader json(text);
  std::string_view name, value;
  bool code = false, msg = false;
  if (!json.Enter('{')) return false;
  while (json.NextMember(&name)) {
    if (!json.Skip(&value)) return false;
    if (name == "code") code = value[0] >= '1' && value[0] <= '9';
    if (name == "msg") msg = value[0] == '"';
  }
  return json.AtEnd() && code && msg;
}

// What DEL cannot do without (spec section "DEL"), in libcni's words; false when nothing is missing.
bool PutMissing(Text* out) {
  bool any = false;
  for (const char* name : {"CNI_CONTAINERID", "CNI_IFNAME"}) {
    if (!Variable(name).empty()) continue;
    out->Put(any ? "," : "required env variables [").Put(name);
    any = true;
  }
  if (any) out->Put("] missing");
  return any;
}

}  // namespace

Call::Call(std::string_view command, std::string_view input, Config* config, const Places& places, const Deadline& end)
    : command_(command),
      input_(input),
      end_(end),
      config_(config),
      request_(places.request.data(), places.request.size()),
      daemon_(config->socket(), places.answer),
      delegates_(places.delegates) {
  TextOf<64> netns;
  PutOwnNetns(&netns);
  request_.Put("{\"env\":");
  PutVariables(&request_);
  request_.Put(",\"stdin\":");
  PutJsonString(&request_, input);
  if (netns.size() > 0) {
    request_.Put(",\"netns\":");
    PutJsonString(&request_, netns.view());
  }
  opened_ = request_.size();
}

int Call::Run() {
  const Reached reached = Rounds();
  if (reached == Reached::kAnswered) return Finish();
  if (command_ == "DEL") return Queue();
  Undo();
  return Refused(reached);
}

Call::Reached Call::Garbage(std::string_view what) {
  why_.Cut(0);
  why_.Put("the answer of the loden daemon at ").Put(config_->socket()).Put(" cannot be used: ").Put(what);
  return Reached::kGarbage;
}

Call::Reached Call::Rounds() {
  for (int round = 0;; ++round) {
    const Reached reached = Ask();
    if (reached != Reached::kAnswered) return reached;
    const HttpAnswer& answer = daemon_.answer();
    if (answer.status() != 200 || answer.content_type() != kDelegatesType) {
      if (IsFinal()) return reached;
      TextOf<512> what;
      what.Put("status ").Number(answer.status()).Put(", ").Put(answer.content_type().substr(0, 100));
      what.Put("; is it of the plugin's version?");
      return Garbage(what.view());
    }
    if (round == kMaxRounds) return Garbage("it names delegates again and again");
    const size_t first = delegates_.size();
    if (const char* why = delegates_.Read(answer.body())) return Garbage(why);
    RunDelegates(first);
  }
}

Call::Reached Call::Ask() {
  const size_t open = request_.size();
  request_.Put(open > opened_ ? "]}" : "}");
  if (request_.full()) return Garbage("the request is too long");
  // Whoever asks whether pods can be added now is told so at once; a DEL can be kept.
  const bool patient = command_ == "ADD" || command_ == "CHECK";
  const Reached reached = daemon_.Ask(request_.view(), end_, patient);
  request_.Cut(open);
  return reached;
}

bool Call::IsFinal() const {
  const HttpAnswer& answer = daemon_.answer();
  if (answer.status() == 200) {
    return answer.body().empty() || (answer.content_type() == "application/json" && IsJson(answer.body()));
  }
  return answer.status() >= 400 && answer.content_type() == "application/json" && IsError(answer.body());
}

void Call::RunDelegates(size_t first) {
  for (size_t i = first; i < delegates_.size(); ++i) {
    const Outcome outcome = RunOne(delegates_[i], nullptr);
    ran_[ran_count_++] = i;
    request_.Put(request_.size() > opened_ ? "," : ",\"delegated\":[");
    request_.Put("{\"exit\":").Number(outcome.exit).Put(",\"stdout\":");
    PutJsonString(&request_, outcome.output);
    request_.Put('}');
    if (outcome.exit != 0) return;
  }
}

Outcome Call::RunOne(const Delegate& delegate, const char* command) {
  return cni::Run(delegate, command, config_->version(), end_.left() / 2);
}

void Call::Undo() {
  if (command_ != "ADD") return;
  while (ran_count_ > 0) {
    const Delegate& delegate = delegates_[ran_[--ran_count_]];
    // What was before that is the daemon's: it has begun to undo.
    if (delegate.deletes) break;
    if (!delegate.adds) continue;
    const bool done = RunOne(delegate, "CNI_COMMAND=DEL").exit == 0;
    undone_.Put(undone_.size() > 0 ? ", " : "; after that: ");
    undone_.Put(delegate.plugin).Put(done ? " undone" : " could not be undone");
  }
}

int Call::Finish() {
  const HttpAnswer& answer = daemon_.answer();
  if (!answer.warning().empty()) Warn(answer.warning());
  if (answer.status() != 200) {
    Undo();
    if (undone_.size() > 0) Warn(undone_.view().substr(2));
  }
  return Print(answer.body(), answer.status() == 200 ? 0 : 1);
}

int Call::Refused(Reached reached) {
  TextOf<16 * 1024> msg, details;
  Code code = reached == Reached::kGarbage ? Code::kInternal : Code::kTryAgainLater;
  if (command_ == "STATUS") {
    code = Code::kNotAvailable;
  } else if (command_ != "ADD" && command_ != "DEL" && command_ != "CHECK" && command_ != "GC") {
    msg.Put("unknown CNI_COMMAND: ").Put(command_.substr(0, 200));
    return Fail(config_->version(), Code::kInvalidEnvironment, msg.view());
  }
  msg.Put(Why());
  if (why_.size() == 0) details.Put(daemon_.advice());
  if (undone_.size() > 0) details.Put(undone_.view().substr(details.size() > 0 ? 0 : 2));
  return Fail(config_->version(), code, msg.view(), details.view());
}

int Call::Queue() {
  TextOf<16 * 1024> msg;
  // What the daemon would refuse is no DEL to be kept: nobody would be told.
  if (PutMissing(&msg)) return Fail(config_->version(), Code::kInvalidEnvironment, msg.view());
  if (!IsConfig(input_)) {
    msg.Put("error unmarshall network config: ");
    return Fail(config_->version(), Code::kDecodingFailure, msg.Put("it is no JSON object").view());
  }
  if (!IsContainerId(Variable("CNI_CONTAINERID"))) {
    return Fail(config_->version(), Code::kInvalidEnvironment, "invalid characters in containerID",
                Variable("CNI_CONTAINERID").substr(0, 1000));
  }
  if (const char* fault = IfnameFault(Variable("CNI_IFNAME"))) {
    return Fail(config_->version(), Code::kInvalidEnvironment, fault);
  }
  request_.Cut(opened_);
  request_.Put('}');
  if (const char* why = WriteQueued(config_->del_queue(), request_.view())) {
    msg.Put(Why()).Put("; and the DEL cannot be kept for it in ").Put(config_->del_queue()).Put(": ").Put(why);
    return Fail(config_->version(), Code::kTryAgainLater, msg.view(), daemon_.advice());
  }
  msg.Put("the DEL is kept in ").Put(config_->del_queue()).Put(" for the loden daemon: ").Put(Why());
  Warn(msg.view());
  return 0;
}

}  // namespace loden::cni
