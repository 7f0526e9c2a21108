/*
 * SEARCH TEXT, BODY and HEADER over decoded text (RFC 9051 §6.4.4).
 *
 * The message passes once, in pieces of any size, from its first byte; the tree tells what each
 * byte is. Bodies of text/... and message/... are decoded (transfer encoding, then charset); header
 * fields have their encoded-words decoded. Comparison is i;unicode-casemap. Linear in the message.
 */
#pragma once
#include "base/arena.h"
#include "mail/message/casemap.h"
#include "mail/message/mime.h"

struct search_text;
/*
 * key: UTF-8, not empty. headers: true for TEXT, which looks into the headers of all parts as well; false for BODY,
 * which looks into no header at all. mime is borrowed. NULL when the arena is full. Release with search_text_free.
 */
MUST_USE struct search_text *search_text_new(struct arena *arena, const struct mime *mime, struct slice key,
					     bool headers);
/* Feed the next bytes; true once the key was found (more feeding is harmless). */
bool search_text_feed(struct search_text *s, struct slice chunk);
bool search_text_end(struct search_text *s);
/* Frees the work buffers (at most 1 MiB); the rest is in the arena. NULL is fine. */
void search_text_free(struct search_text *s);

/* SEARCH HEADER name key over a header block: an empty key asks for presence. key as UTF-8. 1, 0, or -ENOMEM. */
int search_header(struct arena *arena, struct slice block, const char *name, struct slice key);
/* SEARCH SUBJECT: as HEADER, but runs of blanks count as one. */
int search_subject(struct arena *arena, struct slice block, struct slice key);
/* SEARCH FROM, TO, CC, BCC (name) over a header block: looks into the addresses as address_write writes them. */
int search_address(struct arena *arena, struct slice block, const char *name, struct slice key);
