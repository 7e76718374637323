// Runs one case without Python: program FOLDER PARENT, where PARENT is the parent's process id.
//
// It reads commands from its standard input, one per line, and answers each with a line on its original standard
// output: "ok" and numbers, or "error" and a message. It ends with its input, or with its parent.
//
//   load             loads the case; its files may be deleted afterwards
//   sample C N       takes N samples of C calls without a break; answers with all marks, in nanoseconds of the
//                    host's clock, or of the device's after the first mark
//   answer FOLDER    writes answer.pt: the answer of one untimed call or step on the folder's files
//   weights FOLDER   writes weights.pt: the current values of the trained parameters

#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>

#include "clock.h"
#include "files.h"
#include "host.h"
#include "work.h"

// The line of a message that says what is wrong: of an error within a module, the original error's.
std::string told(const std::string& message) {
  const std::string raised = "\nRuntimeError: ";
  const size_t found = message.rfind(raised);
  const size_t begin = message.find_first_not_of(" \n", found == std::string::npos ? 0 : found + raised.size());
  return begin == std::string::npos ? "no message" : message.substr(begin, message.find('\n', begin) - begin);
}

// Standard output becomes standard error, because libraries print to it too; answers keep the old one.
FILE* take_output() {
  FILE* answers = fdopen(dup(STDOUT_FILENO), "w");
  dup2(STDERR_FILENO, STDOUT_FILENO);
  return answers;
}

class Program {
 public:
  explicit Program(const std::string& folder)
      : folder_(folder), settings_(folder + "/settings.pt"), device_(c10::kCPU) {
    prepare_host(settings_);
    device_ = prepare_device(settings_);
    clock_ = make_clock(device_);
    if (const int64_t bytes = settings_.at("evict").toInt()) evict_.emplace(bytes, device_);
  }

  std::string obey(const std::string& line) {
    std::istringstream words(line);
    std::string command, folder;
    words >> command;
    if (command == "load") {
      work_ = load(folder_, settings_, device_);
      wait();
    } else if (command == "sample") {
      int64_t calls = 1, samples = 1;
      words >> calls >> samples;
      return sample(calls, samples);
    } else if (command == "answer" && std::getline(words >> std::ws, folder)) {
      save(folder + "/answer.pt", work_->answer(folder));
    } else if (command == "weights" && std::getline(words >> std::ws, folder)) {
      save(folder + "/weights.pt", lists({{"weights", work_->weights()}}));
    } else {
      throw std::runtime_error("no such command: " + line);
    }
    return "";
  }

 private:
  std::string sample(int64_t calls, int64_t samples) {
    clock_->expect(5 * samples);
    for (int64_t number = 0; number < samples; ++number) {
      if (evict_) (*evict_)();
      work_->sample(calls, *clock_);
    }
    std::ostringstream text;
    for (const int64_t mark : clock_->taken()) text << ' ' << mark;
    return text.str();
  }

  // Waits until the device has done all that it was given.
  void wait() {
    clock_->mark();
    clock_->taken();
  }

  std::string folder_;
  Fields settings_;
  c10::Device device_;
  std::unique_ptr<Clock> clock_;
  std::optional<Evictor> evict_;
  std::unique_ptr<Work> work_;
};

void reply(FILE* answers, const std::string& text) {
  std::fprintf(answers, "%s\n", text.c_str());
  std::fflush(answers);
}

int main(int count, char** arguments) {
  if (count != 3) return 2;
  die_with(std::stoi(arguments[2]));
  FILE* answers = take_output();
  try {
    Program program(arguments[1]);
    reply(answers, "ok");
    for (std::string line; std::getline(std::cin, line);) {
      try {
        reply(answers, "ok" + program.obey(line));
      } catch (const c10::Error& error) {
        reply(answers, "error " + told(error.what_without_backtrace()));
      } catch (const std::exception& error) {
        reply(answers, "error " + told(error.what()));
      }
    }
  } catch (const std::exception& error) {
    reply(answers, "error " + told(error.what()));
    return 1;
  }
}
