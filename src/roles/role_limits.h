/*
 * The limits of the admin socket as constants; the table with units and sources is limits.def.
 */
#pragma once
#define LIMITS_FILE "roles/limits.def"
#include "base/limits.h"
