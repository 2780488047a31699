#include "src/handler/library.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/handler_support.h"

namespace mws {
namespace {

using namespace test;

struct LibraryTest : testing::Test {
  Lines log;

  std::string reason(const std::string& path, const std::string& symbol = kDefaultSymbol) {
    auto library = Library::load(path, symbol, log);
    EXPECT_FALSE(library);
    std::string why = library ? "" : library.reason();
    EXPECT_NE(why.find(path), why.npos) << why;
    EXPECT_EQ(why.find('\n'), why.npos) << why;
    return why;
  }
  std::string reason_of_table(const std::string& symbol) {
    std::string path = object("tables");
    std::string why = reason(path, symbol).substr(path.size() + 2);
    EXPECT_FALSE(is_in_memory(path));
    return why;
  }
};

TEST_F(LibraryTest, LoadsAnObjectAndReadsItsTable) {
  auto library = Library::load(object("tables"), "whole", log);
  ASSERT_TRUE(library) << library.reason();
  const ws_handler& table = (*library)->table();
  EXPECT_EQ(table.abi, WS_ABI_VERSION);
  for (bool there :
       {table.configure != nullptr, table.shutdown != nullptr, table.handshake != nullptr,
        table.open != nullptr, table.message != nullptr, table.close != nullptr})
    EXPECT_TRUE(there);
  EXPECT_EQ((*library)->path(), object("tables"));
  EXPECT_EQ(log.all, (Events{"info: whole"}));
}

TEST_F(LibraryTest, UnloadsTheObjectWithItsLastUser) {
  auto library = Library::load(object("tables"), "whole", log);
  ASSERT_TRUE(library);
  EXPECT_TRUE(is_in_memory(object("tables")));
  std::shared_ptr<Library> other = *library;
  library->reset();
  EXPECT_TRUE(is_in_memory(object("tables")));
  other.reset();
  EXPECT_FALSE(is_in_memory(object("tables")));
}

TEST_F(LibraryTest, OfTheSameObjectAndSymbolIsOneAndItsFunctionIsCalledOnce) {
  std::string path = object("tables");
  std::string same = std::string(path).insert(path.rfind('/'), "/../handlers");
  auto one = Library::load(path, "whole", log);
  auto two = Library::load(path, "whole", log);
  auto three = Library::load(same, "whole", log);
  auto four = Library::load(path, "larger", log);
  ASSERT_TRUE(one && two && three && four);
  EXPECT_EQ(*one, *two);
  EXPECT_EQ(*one, *three);
  EXPECT_NE(*one, *four);
  EXPECT_EQ(log.all, (Events{"info: whole", "info: larger"}));
  for (auto* each : {&one, &two, &three}) (*each)->reset();
  EXPECT_TRUE(is_in_memory(path));
  four->reset();
  EXPECT_FALSE(is_in_memory(path));
  EXPECT_TRUE(Library::load(path, "whole", log));
  EXPECT_EQ(log.count("info: whole"), 2);
}

TEST_F(LibraryTest, RefusesAnObjectThatIsNotThere) {
  EXPECT_NE(reason(object("missing")).find("No such file"), std::string::npos);
}

TEST_F(LibraryTest, RefusesAFileThatIsNoObject) {
  std::string path = testing::TempDir() + "not_an_object.so";
  std::ofstream(path) << "#!/bin/sh\n";
  reason(path);
  std::ofstream(path) << "";
  reason(path);
  unlink(path.c_str());
}

TEST_F(LibraryTest, RefusesAnObjectWithoutTheSymbol) {
  EXPECT_EQ(reason_of_table(kDefaultSymbol),
            "is no handler: it exports no function websocket_handler");
  EXPECT_EQ(reason_of_table("configure"), "is no handler: it exports no function configure");
}

TEST_F(LibraryTest, RefusesAFunctionThatReturnsNothing) {
  EXPECT_EQ(reason_of_table("returns_null"), "returns_null returned no handler");
}

TEST_F(LibraryTest, RefusesAFunctionThatThrows) {
  EXPECT_EQ(reason(object("throws"), "throws_itself"),
            object("throws") + ": throws_itself threw an exception");
  EXPECT_FALSE(is_in_memory(object("throws")));
}

TEST_F(LibraryTest, RefusesAnAbiThatItDoesNotSpeak) {
  EXPECT_EQ(reason_of_table("abi_zero"),
            "has a table of version 0, as plugins of apache-websocket do, but not of 40 bytes as "
            "theirs; a handler's says WS_ABI_VERSION");
  EXPECT_EQ(reason_of_table("abi_too_new"),
            "speaks handler ABI " + std::to_string(WS_ABI_VERSION + 1) + ", this server 1 to " +
                std::to_string(WS_ABI_VERSION) + "; compile it against this server's headers");
}

TEST_F(LibraryTest, RefusesATableWithoutAMessageCallback) {
  for (const char* symbol : {"message_null", "without_message", "size_zero"})
    EXPECT_EQ(reason_of_table(symbol), "has neither a message nor a fragment callback");
}

TEST_F(LibraryTest, CallbacksThatAnOlderTableIsTooShortForAreNull) {
  for (const char* symbol : {"without_close", "half_of_close"}) {
    auto library = Library::load(object("tables"), symbol, log);
    ASSERT_TRUE(library) << library.reason();
    EXPECT_NE((*library)->table().message, nullptr);
    EXPECT_EQ((*library)->table().close, nullptr) << symbol;
  }
}

TEST_F(LibraryTest, WhatANewerTableHasMoreIsLeftAlone) {
  auto library = Library::load(object("tables"), "larger", log);
  ASSERT_TRUE(library) << library.reason();
  EXPECT_NE((*library)->table().close, nullptr);
}

TEST_F(LibraryTest, TakesWhateverAHandlerLogs) {
  EXPECT_TRUE(Library::load(object("tables"), "logs_oddly", log));
  EXPECT_EQ(log.all, (Events{"debug: no such level", "debug: nor this", "warning: %s%n"}));
}

TEST_F(LibraryTest, LogsWithCodeClientAndPathAndTheLevelOfTheHandler) {
  struct Sink final : LogSink {
    std::vector<std::pair<LogLevel, std::string>> all;
    void write(LogLevel level, std::string_view line) noexcept override {
      all.emplace_back(level, line);
    }
  } sink;
  auto library = Library::load(object("face_plain"), kDefaultSymbol, sink);
  ASSERT_TRUE(library);
  (*library)->log(LogLevel::warning, "", "careful");
  (*library)->log(LogLevel::error, "WS000", "wrong", "[client c] ");
  ASSERT_EQ(sink.all.size(), 2u);
  EXPECT_EQ(sink.all[0].first, LogLevel::warning);
  EXPECT_EQ(sink.all[0].second, object("face_plain") + ": careful");
  EXPECT_EQ(sink.all[1].first, LogLevel::error);
  EXPECT_EQ(sink.all[1].second, "WS000: [client c] " + object("face_plain") + ": wrong");
}

}  // namespace
}  // namespace mws
