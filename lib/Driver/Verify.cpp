#include "Session.h"

using namespace llmopt;

int llmopt::verifyModel(Session &session) { return session.fail(kInternal, "not wired up"); }
