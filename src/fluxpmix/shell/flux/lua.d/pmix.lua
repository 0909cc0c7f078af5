-- Loads pmix.so where a job asks for PMIx: flux run -o pmi=pmix. Other jobs pay nothing.
-- flux-shell reads this from $FLUX_SHELL_RC_PATH, and then the plugin is in the directory above; or from its
-- own lua.d, where flux-pmix install links it, and then the plugin is in fluxpmix/ of its plugin path.

local function wanted ()
    local pmi = shell.options.pmi
    if type (pmi) ~= "string" then return false end
    for word in pmi:gmatch ("[^,%s]+") do
        if word == "pmix" then return true end
    end
    return false
end

local function find ()
    local above = debug.getinfo (1, "S").source:match ("^@(.*)/[^/]*/[^/]*$") or "."
    local file = io.open (above .. "/pmix.so")
    if not file then return "fluxpmix/pmix.so" end
    file:close ()
    return above .. "/pmix.so"
end

if wanted () then
    local done, reason = pcall (plugin.load, { file = find () })
    if not done then
        shell.die ("pmix: " .. tostring (reason) .. "; flux-pmix build-plugins builds the plugin")
    end
end
