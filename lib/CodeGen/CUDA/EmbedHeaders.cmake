# Writes {"path in a project", R"(text)"} for every header of HEADERS into OUTPUT.
string(REPLACE "," ";" headers "${HEADERS}")
set(result "")
foreach(header ${headers})
  file(READ ${header} text)
  string(REGEX REPLACE ".*/include/(llmopt/.*)" "\\1" path ${header})
  string(APPEND result "{\"${path}\", R\"llmopt_text(${text})llmopt_text\"},\n")
endforeach()
file(WRITE ${OUTPUT} "${result}")
