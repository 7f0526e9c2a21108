/*
 * The limits of nat64's host side as constants; the table with units and sources is limits.def.
 */
#pragma once
#define LIMITS_FILE "nat64/limits.def"
#include "base/limits.h"
