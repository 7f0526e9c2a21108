/* A hardened copy proves itself before it gets its name. */
#pragma once
#include <stdbool.h>

#include "base/errmsg.h"

/* Run JDK/bin/java with these arguments (NULL at the end), no environment, its output thrown away. Exit status; 128 + signal; negative errno. */
int copy_java(const char *jdk, const char *const *arguments);
/* Make a directory with the test's classes, and a table of a policy that allows nothing. */
MUST_USE int selftest_prepare(const char *directory, const char *table, struct errmsg *why);
/* Each attempt of the test is denied in the copy, with its class-data archive (when it has one) and without. */
MUST_USE int selftest_run(const char *jdk, const char *directory, bool archive, struct errmsg *why);
