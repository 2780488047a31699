# mod_websocket. `make help` lists the targets; everything that is built goes into build/.

# Targets that work without, or before, ./configure.
UNCONFIGURED := help run bench check check-layers check-format format fuzz clean distclean dist node

GOALS := $(or $(MAKECMDGOALS),all)
ifneq ($(filter-out $(UNCONFIGURED),$(GOALS)),)
include build/config.mk
endif

.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all
.PHONY: all module handlers unit asan-unit unit-build asan-build tsan-build asan-check tsan-check bench-build run check check-layers check-format format bench bench-peers bench-scale soak conformance \
        fuzz fuzz-build install uninstall clean distclean dist node help FORCE

PORT ?= 9998

# A sub-make uses every processor unless -j says otherwise.
PARALLEL = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

# ---- configure -----------------------------------------------------------------------------------

configure: configure.ac
	autoconf
	@rm -rf autom4te.cache configure~; touch $@

build/config.mk: configure conf/config.mk.in
	@mkdir -p build
	@if test -x config.status; then echo './config.status --recheck'; ./config.status --recheck && ./config.status; \
	else echo ./configure; ./configure; fi
	@touch $@

# ---- sources -------------------------------------------------------------------------------------

LAYERS := base protocol engine pubsub handler
CORE_SOURCES := $(foreach layer,$(LAYERS),$(wildcard src/$(layer)/*.c++))
HTTPD_SOURCES := $(wildcard src/httpd/*.c++) mod_websocket.c++
UNIT_SOURCES := $(wildcard tests/unit/*.c++)
HANDLERS := $(sort $(patsubst handlers/%.c++,%,$(wildcard handlers/*.c++)) $(patsubst handlers/%.c,%,$(wildcard handlers/*.c)))
BENCHES := $(patsubst bench/%.c++,%,$(wildcard bench/*.c++))
# Other servers to compare with, of those whose library is there.
has_header = $(wildcard $(addsuffix /$(1),/usr/include /usr/local/include))
PEERS := $(if $(call has_header,libwebsockets.h),libwebsockets) $(if $(call has_header,boost/beast.hpp),beast)
FUZZERS := $(patsubst tests/fuzz/%.c++,%,$(wildcard tests/fuzz/*.c++))
HEADERS := $(wildcard include/mod_websocket/*.h)
WWW := $(shell find www -type f)
# Named one by one: whoever tries it out in place leaves more in the folder.
TEMPLATE := $(addprefix handlers/template/,hello.c++ Makefile README.md)
FORMATTED := $(shell find mod_websocket.c++ src include handlers tests/unit tests/abi tests/fuzz bench \
               \( -name '*.c++' -o -name '*.h' -o -name '*.c' \) -type f 2>/dev/null)

objects = $(patsubst %.c++,$(1)/%.o,$(2))
CORE_OBJECTS := $(call objects,build/obj,$(CORE_SOURCES))
HTTPD_OBJECTS := $(call objects,build/obj,$(HTTPD_SOURCES))
UNIT_OBJECTS := $(call objects,build/obj,$(UNIT_SOURCES))
ASAN_OBJECTS := $(call objects,build/asan/obj,$(CORE_SOURCES) $(UNIT_SOURCES))
# What httpd loads for its tests with a sanitizer, asan or tsan.
sanitized_objects = $(call objects,build/$(1)/obj,$(CORE_SOURCES) $(HTTPD_SOURCES))

MODULE := build/mod_websocket.so
HANDLER_FILES := $(HANDLERS:%=build/handlers/%.so)
TEST_HANDLERS := $(patsubst tests/unit/%,build/tests/%.so,$(basename $(wildcard tests/unit/handlers/*.c++ tests/unit/handlers/*.c)))
ABI_HANDLERS := $(patsubst %.c,build/%.so,$(wildcard tests/abi/*/handler.c))
CONF_FILES := build/conf/websocket.load build/conf/websocket.conf build/conf/mod_websocket.pc build/conf/mod_websocket-standalone

# ---- flags ---------------------------------------------------------------------------------------

handlerdir = $(libdir)/mod_websocket/handlers
wwwdir = $(datadir)/mod_websocket/www
templatedir = $(datadir)/mod_websocket/template
pkgconfigdir = $(libdir)/pkgconfig

WARNINGS := -Wall -Wextra -Wshadow
DEPENDENCIES = -MMD -MP
SHARED = -shared -Wl,-z,now -pthread
STD_FLAGS = -std=c++20 $(WARNINGS) -fPIC -fvisibility=hidden $(NO_GNU_UNIQUE) -pthread
CORE_CPPFLAGS = -I. -Iinclude -D_GNU_SOURCE -DWEBSOCKET_VERSION='"$(VERSION)"' -DWEBSOCKET_HANDLER_PATH='"$(handlerdir)"' $(DEFLATE_CPPFLAGS) $(SIMDJSON_CPPFLAGS) $(HIREDIS_CPPFLAGS)
TEST_CPPFLAGS = $(CORE_CPPFLAGS) $(JSON_CPPFLAGS) -DTEST_BUILD_DIR='"$(CURDIR)/build"' -DTEST_SOURCE_DIR='"$(CURDIR)"'
# Handlers may hand over enums of any value, which the host checks: defined without -fstrict-enums. What follows a pointer to nothing, to what
# is gone or to less than is read the address sanitizer sees by itself; to check the pointers as well takes a third of the compiler's time.
asan_flags = -O1 -g1 -fsanitize=address,undefined -fno-sanitize=enum,null,vptr,object-size -fno-sanitize-recover=all -fno-omit-frame-pointer
tsan_flags = -O1 -g1 -fsanitize=thread -fno-omit-frame-pointer
# Only what is used gets linked.
CORE_LIBS = -Wl,--as-needed $(SSL_LIBS) $(DEFLATE_LIBS) $(SIMDJSON_LIBS) $(HIREDIS_LIBS) $(LIBS)

# With headers that are compiled beforehand ccache is of use only so.
export CCACHE_SLOPPINESS ?= pch_defines,time_macros

# One short line for each step; V=1 shows the commands.
quiet = $(if $(V),,@echo '  $(1)  $@'; )
compile = $(call quiet,C++)$(CXX) $(STD_FLAGS) $(DEPENDENCIES) $(1) $(CPPFLAGS) $(CXXFLAGS) -c -o $@ $<

# ---- rules ---------------------------------------------------------------------------------------

all: module handlers $(CONF_FILES) ## build the module and the handlers (the default)
	@:
module: $(MODULE)
handlers: $(HANDLER_FILES)

# A list is rewritten only when it changes, so that what is linked from it follows files that come
# and go.
build/%.list: FORCE
	@mkdir -p $(@D); echo '$(LIST)' | cmp -s - $@ || echo '$(LIST)' > $@
build/module.list: LIST = $(CORE_OBJECTS) $(HTTPD_OBJECTS)
build/core.list: LIST = $(CORE_OBJECTS)
build/unit.list: LIST = $(CORE_OBJECTS) $(UNIT_OBJECTS)
build/asan.list: LIST = $(ASAN_OBJECTS)

$(MODULE): $(CORE_OBJECTS) $(HTTPD_OBJECTS) build/module.list
	$(call quiet,LD )$(CXX) $(SHARED) $(CXXFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(CORE_LIBS)

build/obj/src/httpd/%.o: src/httpd/%.c++ build/config.mk
	@mkdir -p $(@D)
	$(call compile,$(CORE_CPPFLAGS) $(HTTPD_CPPFLAGS) $(SSL_CPPFLAGS) $(JSON_CPPFLAGS))

build/obj/mod_websocket.o: mod_websocket.c++ build/config.mk
	@mkdir -p $(@D)
	$(call compile,$(CORE_CPPFLAGS) $(HTTPD_CPPFLAGS) $(SSL_CPPFLAGS))

build/obj/src/%.o: src/%.c++ build/config.mk
	@mkdir -p $(@D)
	$(call compile,$(CORE_CPPFLAGS) $(SSL_CPPFLAGS))

# Tests themselves are not optimised, and know their lines but not their variables: they are many and
# large, and compile in a third of the time.
build/obj/tests/unit/%.o: tests/unit/%.c++ build/config.mk
	@mkdir -p $(@D)
	$(call compile,$(TEST_CPPFLAGS)) -O0 -g1

build/obj/bench/%.o: bench/%.c++ build/config.mk
	@mkdir -p $(@D)
	$(call compile,$(TEST_CPPFLAGS) $(SSL_CPPFLAGS))

# Handlers see what a handler's author sees, and no more. $(2): flags of a sanitizer.
handler_cxx = $(call quiet,C++)$(CXX) $(STD_FLAGS) $(DEPENDENCIES) -MF $(1)/$*.d -Iinclude $(JSON_CPPFLAGS) $(CPPFLAGS) $(CXXFLAGS) \
  $(2) $(SHARED) $(LDFLAGS) -o $@ $< $(LIBS)
handler_cc = $(call quiet,CC )$(CC) -std=c99 -Wall -Wextra -pedantic -fPIC -fvisibility=hidden $(DEPENDENCIES) -MF $(1)/$*.d -Iinclude \
  $(CPPFLAGS) $(CFLAGS) $(2) $(SHARED) $(LDFLAGS) -o $@ $< $(LIBS)

build/handlers/%.so: handlers/%.c++ build/config.mk
	@mkdir -p $(@D) build/obj/handlers
	$(call handler_cxx,build/obj/handlers)

build/handlers/%.so: handlers/%.c build/config.mk
	@mkdir -p $(@D) build/obj/handlers
	$(call handler_cc,build/obj/handlers)

build/tests/handlers/%.so: tests/unit/handlers/%.c++ build/config.mk
	@mkdir -p $(@D) build/obj/tests/unit/handlers
	$(call handler_cxx,build/obj/tests/unit/handlers)

build/tests/handlers/%.so: tests/unit/handlers/%.c build/config.mk
	@mkdir -p $(@D) build/obj/tests/unit/handlers
	$(call handler_cc,build/obj/tests/unit/handlers)

# Handlers of each ABI that there was, against its own header.
build/tests/abi/%/handler.so: tests/abi/%/handler.c build/config.mk
	@mkdir -p $(@D)
	$(call quiet,CC )$(CC) -std=c99 -Wall -Wextra -pedantic -fPIC -fvisibility=hidden $(DEPENDENCIES) -MF $(@:.so=.d) \
	  $(CPPFLAGS) $(CFLAGS) $(SHARED) $(LDFLAGS) -o $@ $< $(LIBS)

# With a sanitizer, whose flags come last, so that its level of optimisation counts. These builds read the headers of others from
# tests/sanitizers/*.h, compiled beforehand; the plain ones see to it that each file includes what it uses.
define sanitizer_rules
$(1)_cxx = $$(CXX) $$(STD_FLAGS) $$(DEPENDENCIES) $$(TEST_CPPFLAGS) $$(HTTPD_CPPFLAGS) $$(SSL_CPPFLAGS) $$(CPPFLAGS) $$(CXXFLAGS) $$($(1)_flags)

build/$(1)/obj/%.o: %.c++ build/config.mk
	@mkdir -p $$(@D)
	$$(call quiet,C++)$$($(1)_cxx) -include build/$(1)/$$(precompiled).h -c -o $$@ $$<

build/$(1)/%.h.gch: tests/sanitizers/%.h build/config.mk
	@mkdir -p $$(@D)
	@cp $$< $$(@:.gch=)
	$$(call quiet,C++)$$($(1)_cxx) -x c++-header -o $$@ $$<

$$(call objects,build/$(1)/obj,$(CORE_SOURCES)): precompiled = core
$$(call objects,build/$(1)/obj,$(CORE_SOURCES)): build/$(1)/core.h.gch
$$(call objects,build/$(1)/obj,$(HTTPD_SOURCES)): precompiled = httpd
$$(call objects,build/$(1)/obj,$(HTTPD_SOURCES)): build/$(1)/httpd.h.gch

build/$(1)/mod_websocket.so: $$(call sanitized_objects,$(1)) build/module.list
	$$(call quiet,LD )$$(CXX) $$(SHARED) $$(CXXFLAGS) $$($(1)_flags) $$(LDFLAGS) -o $$@ $$(filter %.o,$$^) $$(CORE_LIBS)

build/$(1)/handlers/%.so: handlers/%.c++ build/config.mk
	@mkdir -p $$(@D)
	$$(call handler_cxx,$$(@D),$$($(1)_flags))

build/$(1)/handlers/%.so: handlers/%.c build/config.mk
	@mkdir -p $$(@D)
	$$(call handler_cc,$$(@D),$$($(1)_flags))

$(1)-build: build/$(1)/mod_websocket.so $$(HANDLERS:%=build/$(1)/handlers/%.so)
	@:

-include $$(patsubst %.o,%.d,$$(call sanitized_objects,$(1))) $$(HANDLERS:%=build/$(1)/handlers/%.d)
endef
$(foreach sanitizer,asan tsan,$(eval $(call sanitizer_rules,$(sanitizer))))
UNIT_ASAN_OBJECTS := $(call objects,build/asan/obj,$(UNIT_SOURCES))
$(UNIT_ASAN_OBJECTS) build/asan/unit.h.gch: asan_flags += -O0 --param asan-instrumentation-with-call-threshold=0
$(UNIT_ASAN_OBJECTS): precompiled = unit
$(UNIT_ASAN_OBJECTS): build/asan/unit.h.gch

tsan-build: build/tsan/apr_atomics.so
build/tsan/apr_atomics.so: tests/sanitizers/apr_atomics.c build/config.mk
	@mkdir -p $(@D)
	$(call quiet,CC )$(CC) -Wall -Wextra -fPIC $(CPPFLAGS) $(CFLAGS) $(tsan_flags) -shared $(LDFLAGS) -o $@ $<

# The status page is part of the module, whichever way that is built.
$(foreach folder,obj asan/obj tsan/obj,build/$(folder)/src/httpd/status_page.o): $(wildcard src/httpd/status/*) www/common.css www/icon.svg

build/libcore.a: $(CORE_OBJECTS) build/core.list
	@rm -f $@
	$(call quiet,AR )$(AR) rcs $@ $(CORE_OBJECTS)

build/bench/%: build/obj/bench/%.o build/libcore.a
	@mkdir -p $(@D)
	$(call quiet,LD )$(CXX) -pthread $(CXXFLAGS) $(LDFLAGS) -o $@ $< build/libcore.a $(CORE_LIBS)
build/bench/peers/libwebsockets: CORE_LIBS += -lwebsockets

build/unit_tests: $(CORE_OBJECTS) $(UNIT_OBJECTS) build/unit.list | $(TEST_HANDLERS) $(ABI_HANDLERS)
	$(call quiet,LD )$(CXX) -pthread $(CXXFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -lgtest_main -lgtest $(CORE_LIBS)

build/asan/unit_tests: $(ASAN_OBJECTS) build/asan.list | $(TEST_HANDLERS) $(ABI_HANDLERS)
	$(call quiet,LD )$(CXX) -pthread $(CXXFLAGS) $(asan_flags) $(LDFLAGS) -o $@ $(filter %.o,$^) -lgtest_main -lgtest $(CORE_LIBS)

# Templates: the paths of this configuration.
SUBSTITUTE = sed -e 's|@VERSION@|$(VERSION)|g' -e 's|@prefix@|$(prefix)|g' -e 's|@includedir@|$(includedir)|g' \
  -e 's|@libdir@|$(libdir)|g' -e 's|@handlerdir@|$(handlerdir)|g' -e 's|@templatedir@|$(templatedir)|g' -e 's|@HTTPD_LIBEXECDIR@|$(HTTPD_LIBEXECDIR)|g' \
  -e 's|@NO_GNU_UNIQUE@|$(NO_GNU_UNIQUE)|g'

build/conf/%: conf/%.in build/config.mk
	@mkdir -p $(@D)
	@$(SUBSTITUTE) $< > $@

build/conf/mod_websocket-standalone: standalone build/config.mk
	@mkdir -p $(@D)
	@sed -e 's|^installed_bin=.*|installed_bin="$(bindir)"|' \
	  -e 's|^installed_module=.*|installed_module="$(HTTPD_LIBEXECDIR)/mod_websocket.so"|' \
	  -e 's|^installed_handlers=.*|installed_handlers="$(handlerdir)"|' \
	  -e 's|^installed_www=.*|installed_www="$(wwwdir)"|' \
	  -e 's|^installed_httpd=.*|installed_httpd="$(HTTPD)"|' \
	  -e 's|^installed_modules=.*|installed_modules="$(HTTPD_LIBEXECDIR)"|' \
	  -e 's|^version=.*|version="$(VERSION)"|' $< > $@
	@chmod 755 $@

# Fuzz targets, by clang, which brings libFuzzer; the layers that see no system.
FUZZ_CXX ?= clang++
FUZZ_OBJECTS := $(call objects,build/fuzz/obj,$(foreach layer,base protocol,$(wildcard src/$(layer)/*.c++)) src/pubsub/redis_record.c++)
fuzz_flags = -std=c++20 $(WARNINGS) -I. -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

build/fuzz.list: LIST = $(FUZZ_OBJECTS)

build/fuzz/obj/%.o: %.c++ build/config.mk
	@mkdir -p $(@D)
	$(call quiet,C++)$(FUZZ_CXX) $(fuzz_flags) $(DEPENDENCIES) $(DEFLATE_CPPFLAGS) $(SIMDJSON_CPPFLAGS) $(JSON_CPPFLAGS) $(CPPFLAGS) -c -o $@ $<

$(FUZZERS:%=build/fuzz/%): build/fuzz/%: build/fuzz/obj/tests/fuzz/%.o $(FUZZ_OBJECTS) build/fuzz.list
	$(call quiet,LD )$(FUZZ_CXX) $(fuzz_flags) -fsanitize=fuzzer $(LDFLAGS) -o $@ $(filter %.o,$^) $(DEFLATE_LIBS) $(SIMDJSON_LIBS)

-include $(FUZZ_OBJECTS:.o=.d) $(FUZZERS:%=build/fuzz/obj/tests/fuzz/%.d)

-include $(CORE_OBJECTS:.o=.d) $(HTTPD_OBJECTS:.o=.d) $(UNIT_OBJECTS:.o=.d) $(ASAN_OBJECTS:.o=.d) \
         $(HANDLERS:%=build/obj/handlers/%.d) $(ABI_HANDLERS:.so=.d) $(TEST_HANDLERS:build/tests/%.so=build/obj/tests/unit/%.d) $(BENCHES:%=build/obj/bench/%.d) $(PEERS:%=build/obj/bench/peers/%.d)

# ---- running and testing -------------------------------------------------------------------------

run: ## install what is missing, build, serve on http://127.0.0.1:9998/ (PORT=N for another port)
	@tools/need build
	@+$(MAKE) $(PARALLEL) --no-print-directory all
	@tools/foreground ./standalone --port $(PORT)

check: ## install what the tests need, build, run the tests
	@tools/need build test fuzz
	@tests/run

unit-build: build/unit_tests build/asan/unit_tests

unit: handlers build/unit_tests ## run the unit tests
	build/unit_tests --gtest_brief=1

asan-unit: handlers build/asan/unit_tests ## run them with the address and undefined-behaviour sanitizers
	build/asan/unit_tests --gtest_brief=1

asan-check: ## run a real httpd with the address and undefined-behaviour sanitizers in the module
	@tests/run asan-httpd

tsan-check: ## run a real httpd with the thread sanitizer in the module
	@tests/run tsan-httpd

fuzz-build: $(FUZZERS:%=build/fuzz/%)

SECONDS ?= 60
fuzz: ## look for crashes (SECONDS=60 for each target; TARGET=NAME for one)
	@tools/need build fuzz
	@+$(MAKE) $(PARALLEL) --no-print-directory fuzz-build
	@tests/fuzz/run --seconds $(SECONDS) $(TARGET)

check-layers: ## check that each layer includes only what it may
	@tools/check-layers

check-format: ## check the formatting of C and C++ files
	@clang-format --dry-run -Werror $(FORMATTED)

format: ## format C and C++ files (clang-format)
	@tools/need format
	clang-format -i $(FORMATTED)

bench-build: $(BENCHES:%=build/bench/%)

bench: ## install what the benchmarks need, build and run them
	@tools/need build bench
	@+$(MAKE) $(PARALLEL) --no-print-directory all bench-build
	@bench/run

bench-peers: all bench-build $(PEERS:%=build/bench/peers/%) ## measure other servers beside it, those that are installed (tools/need peers)
	bench/run-peers

bench-scale: all bench-build ## measure with up to 60,000 WebSockets open
	bench/scale

soak: ## run the tests that take hours, and all that check leaves out
	@tools/need build test fuzz
	@tests/run unit soak asan-soak tsan-soak fuzz-soak

conformance: ## run all conformance cases, with a tally of their sections
	@tools/need build test
	@tests/run conformance

# The browser tests' npm packages, once; without the network from then on.
NODE_STAMP := tests/node_modules/.installed
node: $(NODE_STAMP)
	@:
$(NODE_STAMP): tests/package.json tests/package-lock.json
	cd tests && npm ci --no-audit --no-fund
	@touch $@

# ---- installing ----------------------------------------------------------------------------------

# Where httpd's configuration goes: mods-available where there is one (a2enmod), else the folder
# extra.
SYSCONF = $(DESTDIR)$(HTTPD_SYSCONFDIR)

install: all ## install module, handlers, headers, configuration (DESTDIR honoured)
	install -d '$(DESTDIR)$(HTTPD_LIBEXECDIR)' '$(DESTDIR)$(handlerdir)' '$(DESTDIR)$(includedir)/mod_websocket' \
	  '$(DESTDIR)$(pkgconfigdir)' '$(DESTDIR)$(bindir)'
	@# Quiet when all is well: apxs warns that the module has no .la file, which is how it should be.
	@said=$$($(APXS) -S LIBEXECDIR='$(DESTDIR)$(HTTPD_LIBEXECDIR)' -i -n websocket $(MODULE) 2>&1) \
	  || { echo "$$said" >&2; exit 1; }
	@echo 'installed $(DESTDIR)$(HTTPD_LIBEXECDIR)/mod_websocket.so'
	install -m 644 $(HANDLER_FILES) '$(DESTDIR)$(handlerdir)'
	install -m 644 $(HEADERS) '$(DESTDIR)$(includedir)/mod_websocket'
	install -m 644 build/conf/mod_websocket.pc '$(DESTDIR)$(pkgconfigdir)'
	install -m 755 build/conf/mod_websocket-standalone '$(DESTDIR)$(bindir)'
	install -d '$(DESTDIR)$(templatedir)'
	install -m 644 $(TEMPLATE) '$(DESTDIR)$(templatedir)'
	@for file in $(WWW); do install -D -m 644 "$$file" "$(DESTDIR)$(wwwdir)/$${file#www/}" || exit 1; done
	@SYSCONF='$(SYSCONF)' REAL_SYSCONF='$(HTTPD_SYSCONFDIR)' MODULE='$(HTTPD_LIBEXECDIR)/mod_websocket.so' tools/install-conf install

uninstall: build/conf/websocket.conf ## undo make install
	@SYSCONF='$(SYSCONF)' tools/install-conf uninstall
	rm -f '$(DESTDIR)$(HTTPD_LIBEXECDIR)/mod_websocket.so' $(HANDLERS:%='$(DESTDIR)$(handlerdir)/%.so') \
	  $(HEADERS:include/%='$(DESTDIR)$(includedir)/%') '$(DESTDIR)$(pkgconfigdir)/mod_websocket.pc' \
	  '$(DESTDIR)$(bindir)/mod_websocket-standalone' $(WWW:www/%='$(DESTDIR)$(wwwdir)/%') \
	  $(TEMPLATE:handlers/template/%='$(DESTDIR)$(templatedir)/%')
	@for dir in '$(handlerdir)' '$(libdir)/mod_websocket' '$(includedir)/mod_websocket'; do \
	  rmdir "$(DESTDIR)$$dir" 2>/dev/null || :; done
	@test ! -d '$(DESTDIR)$(datadir)/mod_websocket' || find '$(DESTDIR)$(datadir)/mod_websocket' -depth -type d -empty -delete

dist: configure ## make a source archive with configure inside
	@version=$$(./configure --version | sed -n 's/^mod_websocket configure //p') && \
	mkdir -p build && git archive --prefix="mod_websocket-$$version/" --add-file=configure HEAD | gzip -9 > "build/mod_websocket-$$version.tar.gz" && \
	echo "build/mod_websocket-$$version.tar.gz"

clean: ## remove what was built, keep the configuration
	@test ! -d build || find build -mindepth 1 -maxdepth 1 ! -name config.mk -exec rm -rf {} +

distclean: ## remove everything that is not in the repository
	rm -rf build configure config.status config.log configure~ autom4te.cache tests/node_modules

help: ## show this list
	@awk -F '## ' '/^[a-z-]+:.*## / { split($$1, target, ":"); printf "  make %-13s %s\n", target[1], $$2 }' Makefile

FORCE:
