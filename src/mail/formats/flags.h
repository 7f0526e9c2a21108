/*
 * Flags as files of other systems can say them. The first five have the values of enum message_flag.
 */
#pragma once

enum format_flag {
	FORMAT_SEEN = 1 << 0,
	FORMAT_ANSWERED = 1 << 1,
	FORMAT_FLAGGED = 1 << 2,
	FORMAT_DELETED = 1 << 3,
	FORMAT_DRAFT = 1 << 4,
	FORMAT_FORWARDED = 1 << 5,	/* the keyword $Forwarded */
};
