/*
 * Files that belong to this program: those of its build directory when it runs from there, else the installed ones.
 */
#pragma once
#include <limits.h>
#include <stdbool.h>

/*
 * Look for `built`, below the directory of the running program, then for `installed`, below <libdir>/prickle.
 * True: it can be read and path has it; false: neither, and path has the installed one for an error.
 */
bool cli_data_file(const char *built, const char *installed, char path[PATH_MAX]);
