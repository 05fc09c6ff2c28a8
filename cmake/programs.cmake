# The programs and tests on top of the layers. A part whose sources are not there is left out.
set(mt_everything mt_shrink mt_run mt_kernel mt_oracle mt_program mt_engine mt_machine)

# The sources of one folder: all .cpp except tests, minus those that match an optional pattern.
function(mt_sources variable folder)
  file(GLOB found CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.cpp)
  list(FILTER found EXCLUDE REGEX "_test\\.cpp$")
  foreach(pattern ${ARGN})
    list(FILTER found EXCLUDE REGEX "${pattern}")
  endforeach()
  set(${variable} ${found} PARENT_SCOPE)
endfunction()

# --- tests beside what they test -------------------------------------------------------------------------------------
mt_tests(allocator_tests FOLDERS allocator LIBRARIES ${mt_everything})
mt_tests(model_tests FOLDERS model LIBRARIES mt_examples ${mt_everything})

# --- stress/threads: the thread engine under ThreadSanitizer ---------------------------------------------------------
if(MT_ENGINE STREQUAL thread)
  mt_layer(mt_threads stress/threads ${mt_everything} fmt::fmt)
  mt_tests(threads_tests FOLDERS stress/threads LIBRARIES mt_threads)
  return()  # what follows judges by replaying, which needs the deterministic engine
endif()

# --- stress/explore: ways to search a case's neighbourhood -----------------------------------------------------------
mt_layer(mt_explore stress/explore ${mt_everything} fmt::fmt)
mt_tests(explore_tests FOLDERS stress/explore LIBRARIES mt_explore)

# --- cli/: the command; the only program that users see --------------------------------------------------------------
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
mt_sources(sources cli "/main\\.cpp$")
if(sources AND EXISTS ${CMAKE_SOURCE_DIR}/cli/main.cpp)
  add_library(mt_cli STATIC ${sources})  # everything but main(), so that cli/*_test.cpp can call the verbs
  target_link_libraries(mt_cli PUBLIC mt_explore ${mt_everything} fmt::fmt CLI11::CLI11 nlohmann_json::nlohmann_json)
  add_executable(memtorture cli/main.cpp)
  target_link_libraries(memtorture PRIVATE mt_cli)
  mt_tests(cli_tests FOLDERS cli LIBRARIES mt_cli)
  if(MT_ENGINE STREQUAL fiber)  # on threads two runs are not the same run
    find_package(Python3 REQUIRED COMPONENTS Interpreter)
    add_test(NAME cli COMMAND Python3::Interpreter ${CMAKE_SOURCE_DIR}/cli/cli_test.py $<TARGET_FILE:memtorture> ${CMAKE_SOURCE_DIR})
    set_tests_properties(cli PROPERTIES TIMEOUT 300)
  endif()
endif()

# --- props/: RapidCheck properties -----------------------------------------------------------------------------------
find_package(rapidcheck REQUIRED)
mt_layer(mt_props props ${mt_everything} rapidcheck)
mt_tests(props_tests FOLDERS props LIBRARIES mt_props)

# --- fuzz/: libFuzzer targets, one NAME_fuzz.cpp each, on a common library -------------------------------------------
# OSS-Fuzz links its own engine ($LIB_FUZZING_ENGINE); everybody else gets libFuzzer.
mt_sources(sources fuzz "_fuzz\\.cpp$" "_tool\\.cpp$" "/entry_points\\.cpp$")
add_library(mt_fuzz STATIC ${sources})
target_link_libraries(mt_fuzz PUBLIC ${mt_everything} fmt::fmt nlohmann_json::nlohmann_json)
mt_tests(fuzz_tests FOLDERS fuzz LIBRARIES mt_fuzz)
if(EXISTS ${CMAKE_SOURCE_DIR}/fuzz/autopsy_tool.cpp)
  add_executable(fuzz_autopsy fuzz/autopsy_tool.cpp)  # raw input of a crash -> shrunk case
  target_link_libraries(fuzz_autopsy PRIVATE mt_fuzz)
  set(mt_fuzz_targets fuzz_autopsy)
endif()
if(MT_FUZZ)
  if(DEFINED ENV{LIB_FUZZING_ENGINE})
    separate_arguments(mt_fuzzing_engine UNIX_COMMAND "$ENV{LIB_FUZZING_ENGINE}")
  else()
    set(mt_fuzzing_engine -fsanitize=fuzzer)
  endif()
  file(GLOB targets CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/fuzz/*_fuzz.cpp)
  foreach(source ${targets})
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    if(NOT name STREQUAL text_fuzz)  # the input is a case
      target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/fuzz/entry_points.cpp)
    endif()
    target_link_libraries(${name} PRIVATE mt_fuzz ${mt_fuzzing_engine})
    list(APPEND mt_fuzz_targets ${name})
  endforeach()

  # Seeds of the targets that run cases: every case of the corpus in its byte form. Seeds of text_fuzz are the texts themselves.
  set(seeds)
  if(TARGET memtorture)
    file(GLOB cases CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/corpus/cases/*.case ${CMAKE_SOURCE_DIR}/corpus/seeds/*.case)
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/seeds/programs)
    foreach(case ${cases})
      get_filename_component(name ${case} NAME_WE)
      set(seed ${CMAKE_BINARY_DIR}/seeds/programs/${name})
      add_custom_command(OUTPUT ${seed} COMMAND memtorture encode ${case} -o ${seed} DEPENDS ${case} memtorture
                         COMMENT "Encoding seed ${name}" VERBATIM)
      list(APPEND seeds ${seed})
    endforeach()
  endif()
  add_custom_target(fuzz_seeds DEPENDS ${seeds})
  add_custom_target(fuzz_targets DEPENDS ${mt_fuzz_targets} fuzz_seeds)
endif()

# --- stress/bench: speed; in the fuzz flavour it tells what the sanitizers and the coverage cost ----------------------
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/stress/bench/*.cpp)
if(sources)
  find_package(benchmark REQUIRED)
  add_executable(bench EXCLUDE_FROM_ALL ${sources})
  target_link_libraries(bench PRIVATE mt_explore ${mt_everything} fmt::fmt rapidcheck benchmark::benchmark ${CMAKE_DL_LIBS})

  # The other engine, at speed: the thread flavour is ThreadSanitizer's.
  if(NOT MT_SANITIZE)
    mt_layer(mt_engine_thread allocator/machine/thread mt_machine Threads::Threads)
    add_executable(threads_bench EXCLUDE_FROM_ALL stress/bench/threads/threads_bench.cpp stress/bench/main.cpp
                   stress/bench/workload.cpp stress/bench/objects_workload.cpp)
    target_link_libraries(threads_bench PRIVATE mt_kernel mt_program mt_engine_thread mt_machine fmt::fmt
                          benchmark::benchmark)
  endif()
endif()
