/*
 * Content-Type, Content-Disposition and their parameters (RFC 2045 §5.1, 2183, 2231).
 */
#pragma once
#include "mail/message/mime.h"

/*
 * "type/subtype; params". False when type/subtype is malformed: RFC 2045 §5.2 then asks for the default,
 * text/plain. Reading goes on behind a mistake. Strings are copies in the arena.
 */
bool param_content_type(struct arena *arena, struct slice value, struct slice *type, struct slice *subtype,
			const struct mime_param **params, uint32_t *count);
bool param_disposition(struct arena *arena, struct slice value, struct slice *disposition,
		       const struct mime_param **params, uint32_t *count);
/* A single token and nothing else (Content-Transfer-Encoding); {NULL, 0} otherwise. */
struct slice param_token(struct arena *arena, struct slice value);
/* Content-Language: tags separated by commas; count 0 when there is none. */
const struct slice *param_languages(struct arena *arena, struct slice value, uint32_t *count);
