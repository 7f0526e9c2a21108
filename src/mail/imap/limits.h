/*
 * The limits of IMAP as constants; the table with units and sources is limits.def.
 */
#pragma once
#define LIMITS_FILE "mail/imap/limits.def"
#include "base/limits.h"
